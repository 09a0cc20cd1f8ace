//! SslSession: the `SSL` inside an `ssl.SSLObject`, which reads and writes without an object for each record.
//!
//! It does what went well, and says so if the peer has to send more first. All else, errors and the end of the stream, is
//! for the object's methods, which find OpenSSL and its errors as this has left them. The interpreter's lock is kept: a
//! record takes a few microseconds.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::memory_bio::MemoryBio;
use super::openssl::{self, Functions};
use super::owned::Owned;
use super::slots::Object;

/// What `PySSLSocket` of CPython's `Modules/_ssl.c` begins with, from 3.7 on.
#[repr(C)]
struct Layout {
    head: ffi::PyObject,
    /// Null where there are BIOs.
    socket: *mut ffi::PyObject,
    ssl: *mut c_void,
    context: *mut ffi::PyObject,
}

/// Of `openssl/ssl.h`.
const SSL_ERROR_WANT_READ: c_int = 2;

/// Why nothing was read or written.
pub(crate) enum Not {
    /// The peer has to send more first.
    Yet,
    /// The methods of the object tell why.
    Told,
}

pub(crate) struct SslSession {
    _object: Owned,
    ssl: NonNull<c_void>,
    functions: &'static Functions,
}

// SAFETY: it is used under the interpreter lock only, as the object that it belongs to.
unsafe impl Send for SslSession {}
// SAFETY: as above.
unsafe impl Sync for SslSession {}

impl SslSession {
    /// That of the C object, which `context` made to read from `incoming`.
    pub(crate) fn of(
        object: &Object<'_>,
        context: &Object<'_>,
        incoming: &MemoryBio,
    ) -> PyResult<Option<Self>> {
        let py = object.py();
        let Some(functions) = openssl::functions(py)? else { return Ok(None) };
        if !context.getattr("_msg_callback")?.is_none() {
            // Only the methods tell of its exceptions.
            return Ok(None);
        }
        let size: usize = object.get_type().getattr("__basicsize__")?.extract()?;
        if size < size_of::<Layout>() {
            return Ok(None);
        }
        // SAFETY: the object is alive and that large; what its fields are is seen below.
        let layout = unsafe { object.as_ptr().cast::<Layout>().read() };
        let is_known = layout.socket.is_null() && layout.context == context.as_ptr();
        let Some(ssl) = NonNull::new(layout.ssl).filter(|_| is_known) else { return Ok(None) };
        // SAFETY: between the two fields that are what they should be is the `SSL`.
        let bio = unsafe { (functions.ssl_get_rbio)(ssl.as_ptr()) };
        Ok(incoming.is(bio).then(|| Self { _object: object.into(), ssl, functions }))
    }

    /// Decrypts one record, or what is left of one.
    #[inline]
    pub(crate) fn read(&self, memory: &mut [MaybeUninit<u8>]) -> Result<usize, Not> {
        let mut count = 0;
        // SAFETY: the `SSL` lives with its object, and so many bytes are there.
        let returned = unsafe {
            (self.functions.ssl_read)(
                self.ssl.as_ptr(),
                memory.as_mut_ptr().cast(),
                memory.len(),
                &raw mut count,
            )
        };
        self.done(returned, count)
    }

    /// Encrypts one record of `data`.
    #[inline]
    pub(crate) fn write(&self, data: &[u8]) -> Result<usize, Not> {
        let mut count = 0;
        // SAFETY: the `SSL` lives with its object, and so many bytes are there.
        let returned = unsafe {
            (self.functions.ssl_write)(self.ssl.as_ptr(), data.as_ptr().cast(), data.len(), &raw mut count)
        };
        self.done(returned, count)
    }

    #[inline]
    fn done(&self, returned: c_int, count: usize) -> Result<usize, Not> {
        if returned == 1 {
            return Ok(count);
        }
        // SAFETY: the `SSL` lives with its object, and returned this in its last call.
        let error = unsafe { (self.functions.ssl_get_error)(self.ssl.as_ptr(), returned) };
        Err(if error == SSL_ERROR_WANT_READ { Not::Yet } else { Not::Told })
    }
}
