//! MemoryBio: what OpenSSL reads from and writes to, which `ssl.MemoryBIO` makes and keeps.
//!
//! Its methods copy every byte once more than OpenSSL does. Where OpenSSL's functions can be had (`openssl.rs`), it
//! reads the bytes where they lie instead, and writes into a large buffer that connections share, from which they are
//! sent. Both is what `BIO_set_mem_buf` is for: OpenSSL's manual, `BIO_s_mem(3)`. Invariant: what is lent to OpenSSL is
//! in its hands only for the time of `lend` and `in_room`.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::slice;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::filled;
use super::guarded::Guarded;
use super::openssl::{self, Functions};
use super::owned::Owned;
use super::slots::Object;
use super::visit::Visit;
use crate::names;

/// `BUF_MEM` of `openssl/buffer.h`, the same since OpenSSL 1.1.0.
#[repr(C)]
struct BufMem {
    len: usize,
    data: *mut u8,
    capacity: usize,
    flags: c_ulong,
}

/// `PySSLMemoryBIO` of CPython's `Modules/_ssl.h`, the same from 3.5 on.
#[repr(C)]
struct Layout {
    head: ffi::PyObject,
    bio: *mut c_void,
    eof_written: c_int,
}

/// Commands of `openssl/bio.h`.
const INFO: c_int = 3;
const SET_CLOSE: c_int = 9;
const PENDING: c_int = 10;
const SET_BUF_MEM: c_int = 114;
const GET_BUF_MEM_PTR: c_int = 115;

/// Nobody can write to it: the buffer is no memory of OpenSSL, which could move it.
const MEM_RDONLY: c_int = 0x200;

/// Whether a BIO frees its buffer.
const NOCLOSE: c_long = 0;
const CLOSE: c_long = 1;

/// The owner of the large buffer, while nobody uses it.
static ROOM: Guarded<Option<Owned>> = Guarded::new(None);

pub(crate) struct MemoryBio {
    object: Owned,
    direct: Option<Direct>,
}

impl MemoryBio {
    pub(crate) fn create(py: Python<'_>) -> PyResult<Self> {
        let object = names::memory_bio(py)?.call0()?;
        let direct = openssl::functions(py)?.and_then(|functions| Direct::of(&object, functions));
        Ok(Self { object: object.into(), direct })
    }

    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.object.get_bound(py)
    }

    /// Bytes that were written and not read.
    #[inline]
    pub(crate) fn pending(&self, py: Python<'_>) -> PyResult<usize> {
        match self.direct {
            Some(direct) => Ok(direct.pending()),
            None => self.object.bind(py).getattr(names::pending(py))?.extract(),
        }
    }

    /// Is it reached without its methods?
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// By its method.
    #[inline]
    pub(crate) fn write_object(&self, data: &Object<'_>) -> PyResult<()> {
        let py = data.py();
        self.object.bind(py).call_method1(names::write(py), (data,)).map(drop)
    }

    pub(crate) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        match self.direct {
            Some(direct) if direct.write(data) => Ok(()),
            _ => self.write_object(PyBytes::new(py, data).as_any()),
        }
    }

    /// All that was written and not read, if that is anything.
    #[inline]
    pub(crate) fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        if let Some(direct) = self.direct {
            return match direct.pending() {
                0 => Ok(None),
                len => filled(py, len, |memory| direct.read(memory))?.map(Some),
            };
        }
        let data = self.object.bind(py).call_method0(names::read(py))?.cast_into::<PyBytes>()?;
        Ok((!data.as_bytes().is_empty()).then_some(data))
    }

    /// It, if something can be lent to it.
    #[inline]
    pub(crate) fn empty(&self) -> Option<EmptyBio<'_>> {
        let direct = self.direct.filter(|direct| direct.pending() == 0)?;
        Some(EmptyBio { bio: self, direct })
    }

    /// Is it what OpenSSL calls `bio`?
    pub(super) fn is(&self, bio: *mut c_void) -> bool {
        self.direct.is_some_and(|direct| direct.bio.as_ptr() == bio)
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.object)
    }
}

/// One that is reached without its methods, and holds nothing, so that something can be lent to it.
pub(crate) struct EmptyBio<'a> {
    bio: &'a MemoryBio,
    direct: Direct,
}

impl EmptyBio<'_> {
    /// Has OpenSSL find `data` for the time of `work`; what it leaves is copied.
    pub(crate) fn lend<R>(
        self,
        py: Python<'_>,
        data: &[u8],
        work: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        let Self { bio, direct } = self;
        let mut lent =
            BufMem { len: data.len(), data: data.as_ptr().cast_mut(), capacity: data.len(), flags: 0 };
        let loan = Loan::make(direct, &mut lent);
        direct.set_flags(MEM_RDONLY);
        let done = work();
        let left = direct.pending();
        drop(loan);
        if left > 0 {
            // Who reads moves on in what it was lent, and never goes back.
            bio.write(py, &data[data.len().saturating_sub(left)..])?;
        }
        done
    }

    /// Has OpenSSL write into the large buffer for the time of `work`. `take` is given what it wrote, returns how much
    /// of it is done with, and must not run Python code.
    pub(crate) fn in_room<R>(
        self,
        py: Python<'_>,
        work: impl FnOnce() -> PyResult<R>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> PyResult<R> {
        let Self { bio, direct } = self;
        let room = match ROOM.with(py, Option::take) {
            Some(room) => room.into_bound(py),
            None => names::memory_bio(py)?.call0()?,
        };
        let Some(of_room) = Direct::of(&room, direct.functions) else { return Err(in_use()) };
        let mut buffer = of_room.buffer();
        // SAFETY: the room has one buffer for as long as it lives, and nobody else has the room.
        let buffer = unsafe { buffer.as_mut() };
        buffer.len = 0;
        let loan = Loan::make(direct, buffer);
        let done = work();
        let written = loan.written();
        let taken = take(written).min(written.len());
        let rest = (taken < written.len()).then(|| written[taken..].to_vec());
        drop(loan);
        drop(ROOM.with(py, |spare| spare.replace(room.into())));
        rest.map_or(Ok(()), |rest| bio.write(py, &rest))?;
        done
    }
}

fn in_use() -> PyErr {
    PyRuntimeError::new_err("a MemoryBIO is in use")
}

/// A BIO in memory, whose `ssl.MemoryBIO` whoever has this keeps alive.
#[derive(Clone, Copy)]
struct Direct {
    bio: NonNull<c_void>,
    functions: &'static Functions,
}

// SAFETY: it is used under the interpreter lock only, as the object that it belongs to.
unsafe impl Send for Direct {}
// SAFETY: as above.
unsafe impl Sync for Direct {}

impl Direct {
    fn of(object: &Object<'_>, functions: &'static Functions) -> Option<Self> {
        let layout = object.as_ptr().cast::<Layout>();
        // SAFETY: `openssl.rs` has seen that the objects of `names::memory_bio` are made so, which makes this one as well.
        let bio = unsafe { (*layout).bio };
        NonNull::new(bio).map(|bio| Self { bio, functions })
    }

    #[inline]
    fn ctrl(self, command: c_int, number: c_long, pointer: *mut c_void) -> c_long {
        // SAFETY: the BIO lives with its object, and each command of this file is given what it is documented to take.
        unsafe { (self.functions.bio_ctrl)(self.bio.as_ptr(), command, number, pointer) }
    }

    /// Returns whether it took all, or nothing.
    fn write(self, data: &[u8]) -> bool {
        let Ok(len) = c_int::try_from(data.len()) else { return false };
        // SAFETY: the BIO lives with its object, and so many bytes are there.
        let written = unsafe { (self.functions.bio_write)(self.bio.as_ptr(), data.as_ptr().cast(), len) };
        len == 0 || written == len
    }

    /// Fills the memory, which must be as large as what is pending, and returns its size.
    fn read(self, memory: &mut [MaybeUninit<u8>]) -> PyResult<usize> {
        let len = c_int::try_from(memory.len())?;
        // SAFETY: the BIO lives with its object, and so many bytes are there.
        let read = unsafe { (self.functions.bio_read)(self.bio.as_ptr(), memory.as_mut_ptr().cast(), len) };
        if read == len { Ok(memory.len()) } else { Err(in_use()) }
    }

    #[inline]
    fn pending(self) -> usize {
        usize::try_from(self.ctrl(PENDING, 0, ptr::null_mut())).unwrap_or(0)
    }

    /// The buffer that it has: its own, but during a loan.
    fn buffer(self) -> NonNull<BufMem> {
        let mut buffer: *mut BufMem = ptr::null_mut();
        self.ctrl(GET_BUF_MEM_PTR, 0, (&raw mut buffer).cast());
        NonNull::new(buffer).expect("a BIO in memory has a buffer")
    }

    #[inline]
    fn set_flags(self, flags: c_int) {
        // SAFETY: the BIO lives with its object.
        unsafe { (self.functions.bio_set_flags)(self.bio.as_ptr(), flags) };
    }

    #[inline]
    fn clear_flags(self, flags: c_int) {
        // SAFETY: as above.
        unsafe { (self.functions.bio_clear_flags)(self.bio.as_ptr(), flags) };
    }

    fn set_buffer(self, buffer: NonNull<BufMem>, close: c_long) {
        self.ctrl(SET_BUF_MEM, close, buffer.as_ptr().cast());
    }
}

/// While it lives, a BIO has another buffer than its own, which is empty.
struct Loan<'a> {
    direct: Direct,
    own: NonNull<BufMem>,
    /// For as long as this.
    _lent: PhantomData<&'a mut BufMem>,
}

impl<'a> Loan<'a> {
    fn make(direct: Direct, lent: &'a mut BufMem) -> Self {
        let own = direct.buffer();
        direct.ctrl(SET_CLOSE, NOCLOSE, ptr::null_mut());
        direct.set_buffer(lent.into(), NOCLOSE);
        Self { direct, own, _lent: PhantomData }
    }

    /// What is in the BIO.
    fn written(&self) -> &[u8] {
        let mut start: *mut u8 = ptr::null_mut();
        let len = usize::try_from(self.direct.ctrl(INFO, 0, (&raw mut start).cast())).unwrap_or(0);
        if start.is_null() {
            return &[];
        }
        // SAFETY: so many bytes are there, until the BIO is written to.
        unsafe { slice::from_raw_parts(start, len) }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.direct.clear_flags(MEM_RDONLY);
        // SAFETY: the BIO did not free it, and gets it back now.
        unsafe { self.own.as_mut() }.len = 0;
        self.direct.set_buffer(self.own, CLOSE);
    }
}

/// Are its objects made as `Layout` says, as far as their size tells?
pub(super) fn is_known(py: Python<'_>) -> PyResult<bool> {
    let class = names::memory_bio(py)?;
    let size: usize = class.getattr("__basicsize__")?.extract()?;
    Ok(class.is(names::c_memory_bio(py)?) && size == size_of::<Layout>())
}

/// Lends to a BIO and has it write into a room, and looks at it by its methods meanwhile.
pub(super) fn works(py: Python<'_>, functions: &'static Functions) -> PyResult<bool> {
    const SENT: &[u8] = b"0123456789";
    let object = names::memory_bio(py)?.call0()?;
    let read = object.getattr(names::read(py))?;
    let Some(direct) = Direct::of(&object, functions) else { return Ok(false) };
    let bio = MemoryBio { object: object.into(), direct: Some(direct) };
    let data = PyBytes::new(py, SENT);
    bio.write_object(data.as_any())?;
    if direct.pending() != SENT.len() || read.call0()?.extract::<&[u8]>()? != SENT || direct.pending() != 0 {
        return Ok(false);
    }
    let mut is_refused = false;
    let Some(empty) = bio.empty() else { return Ok(false) };
    let lent = empty.lend(py, SENT, || {
        let lent = read.call1((3,));
        is_refused = bio.write_object(data.as_any()).is_err();
        lent
    })?;
    let left = read.call0()?;
    let mut seen = vec![];
    let take = |written: &[u8]| {
        seen.extend_from_slice(written);
        4
    };
    let Some(empty) = bio.empty() else { return Ok(false) };
    empty.in_room(py, || bio.write_object(data.as_any()), take)?;
    let rest = read.call0()?;
    Ok(is_refused
        && lent.extract::<&[u8]>()? == &SENT[..3]
        && left.extract::<&[u8]>()? == &SENT[3..]
        && seen == SENT
        && rest.extract::<&[u8]>()? == &SENT[4..]
        && direct.pending() == 0)
}
