//! OpenSSL: functions of the very library that `_ssl` is linked to, to go round the methods of `ssl` where those copy,
//! or make objects.
//!
//! What is theirs alone stays theirs: contexts, handshakes, and all errors. What CPython's objects begin with is checked
//! by their size, by what else is known of them, and by a trial. Where a check fails, where the library is part of `_ssl`
//! so that nobody else reaches it, or with `TONNAGE_TLS_IN_PLACE=0` in the environment, the methods are used.

use std::ffi::{CStr, CString, c_int, c_long, c_void};
use std::mem;
use std::ptr::NonNull;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::memory_bio;
use crate::names;

// As `openssl/bio.h` and `ssl.h` declare them.
type BioCtrl = unsafe extern "C" fn(*mut c_void, c_int, c_long, *mut c_void) -> c_long;
type BioRead = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int;
type BioWrite = unsafe extern "C" fn(*mut c_void, *const c_void, c_int) -> c_int;
type BioFlags = unsafe extern "C" fn(*mut c_void, c_int);
type SslRead = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *mut usize) -> c_int;
type SslWrite = unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut usize) -> c_int;
type SslGetError = unsafe extern "C" fn(*const c_void, c_int) -> c_int;
type SslGetRbio = unsafe extern "C" fn(*const c_void) -> *mut c_void;

pub(super) struct Functions {
    /// `BIO_ctrl(bio, command, number, pointer)`.
    pub(super) bio_ctrl: BioCtrl,
    /// `BIO_read(bio, data, len_max)`.
    pub(super) bio_read: BioRead,
    /// `BIO_write(bio, data, len)`.
    pub(super) bio_write: BioWrite,
    /// `BIO_set_flags(bio, flags)`.
    pub(super) bio_set_flags: BioFlags,
    /// `BIO_clear_flags(bio, flags)`.
    pub(super) bio_clear_flags: BioFlags,
    /// `SSL_read_ex(ssl, data, len_max, len)`.
    pub(super) ssl_read: SslRead,
    /// `SSL_write_ex(ssl, data, len, written)`.
    pub(super) ssl_write: SslWrite,
    /// `SSL_get_error(ssl, returned)`.
    pub(super) ssl_get_error: SslGetError,
    /// `SSL_get_rbio(ssl)`.
    pub(super) ssl_get_rbio: SslGetRbio,
}

/// The functions, if they can be used.
pub(super) fn functions(py: Python<'_>) -> PyResult<Option<&'static Functions>> {
    static FUNCTIONS: PyOnceLock<Option<Functions>> = PyOnceLock::new();
    static WORK: PyOnceLock<bool> = PyOnceLock::new();
    let Some(functions) = FUNCTIONS.get_or_try_init(py, || find(py))? else { return Ok(None) };
    let try_them = || match memory_bio::works(py, functions) {
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(false),
        work => work,
    };
    let work = *WORK.get_or_try_init(py, try_them)?;
    Ok(work.then_some(functions))
}

fn find(py: Python<'_>) -> PyResult<Option<Functions>> {
    let wanted = names::environ(py)?.call_method1("get", ("TONNAGE_TLS_IN_PLACE",))?;
    if wanted.eq("0")? || !memory_bio::is_known(py)? {
        return Ok(None);
    }
    match names::c_ssl_file(py) {
        Ok(path) => Ok(load(&path.extract::<String>()?)),
        // A module that is part of the interpreter has no file.
        Err(_) => Ok(None),
    }
}

fn load(path: &str) -> Option<Functions> {
    let path = CString::new(path).ok()?;
    // SAFETY: a string. The module is loaded already, so none of its code runs.
    let module = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let module = NonNull::new(module)?;
    // The module's own symbols, and those of the libraries that it is linked to.
    let find = |name: &CStr| {
        // SAFETY: a string, and a handle that is never closed.
        NonNull::new(unsafe { libc::dlsym(module.as_ptr(), name.as_ptr()) })
    };
    macro_rules! function {
        ($name:literal, $type:ty) => {{
            let found = find($name)?;
            // SAFETY: the headers of OpenSSL declare the function of that name so.
            unsafe { mem::transmute::<NonNull<c_void>, $type>(found) }
        }};
    }
    Some(Functions {
        bio_ctrl: function!(c"BIO_ctrl", BioCtrl),
        bio_read: function!(c"BIO_read", BioRead),
        bio_write: function!(c"BIO_write", BioWrite),
        bio_set_flags: function!(c"BIO_set_flags", BioFlags),
        bio_clear_flags: function!(c"BIO_clear_flags", BioFlags),
        ssl_read: function!(c"SSL_read_ex", SslRead),
        ssl_write: function!(c"SSL_write_ex", SslWrite),
        ssl_get_error: function!(c"SSL_get_error", SslGetError),
        ssl_get_rbio: function!(c"SSL_get_rbio", SslGetRbio),
    })
}
