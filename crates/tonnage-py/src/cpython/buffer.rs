//! Memory of other objects: bytes that are taken, and buffers that are filled; and parts of such memory
//! that the standard library's C code is given for one call.

use std::cell::Cell;
use std::ffi::c_int;
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::{ptr, slice};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi::{self, compat};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::slots::Object;
use crate::names;

/// What `object` holds at this moment, as `bytes`: the object itself if it is that, else a copy.
#[inline]
pub(crate) fn snapshot<'py>(object: &Object<'py>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    // SAFETY: `object` is a valid object; anything without a buffer is refused with an exception.
    let bytes = unsafe { ffi::PyBytes_FromObject(object.as_ptr()) };
    // SAFETY: a new reference to a bytes object, or null with an exception set.
    let bytes = unsafe { Bound::from_owned_ptr_or_err(object.py(), bytes)? };
    Ok(bytes.cast_into()?)
}

/// Makes a bytes object of what `fill` writes into fresh memory of `len_max` bytes; `fill` returns how
/// many it wrote, and must not run Python code.
pub(crate) fn filled<E>(
    py: Python<'_>,
    len_max: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
) -> PyResult<Result<Bound<'_, PyBytes>, E>> {
    // SAFETY: `py` proves that we are attached; a bad length is refused with an exception.
    let writer = unsafe { compat::PyBytesWriter_Create(len_max.cast_signed()) };
    if writer.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the writer was made above.
    let start = unsafe { compat::PyBytesWriter_GetData(writer) };
    // SAFETY: the writer has `len_max` bytes there, which nobody else has seen.
    let memory = unsafe { slice::from_raw_parts_mut(start.cast(), len_max) };
    let count = match fill(memory) {
        Ok(count) => count.min(len_max),
        Err(error) => {
            // SAFETY: the writer is used no more.
            unsafe { compat::PyBytesWriter_Discard(writer) };
            return Ok(Err(error));
        }
    };
    // SAFETY: the writer is used no more; this many of its bytes were written.
    let bytes = unsafe { compat::PyBytesWriter_FinishWithSize(writer, count.cast_signed()) };
    // SAFETY: a new reference to a bytes object, or null with an exception set.
    let bytes = unsafe { Bound::from_owned_ptr_or_err(py, bytes)? };
    Ok(Ok(bytes.cast_into()?))
}

/// A bytes object that is made by calls which write one part after the other.
pub(crate) struct Growing<'py> {
    py: Python<'py>,
    /// Null once it is finished.
    writer: *mut compat::PyBytesWriter,
    len: usize,
    len_max: usize,
}

impl<'py> Growing<'py> {
    pub(crate) fn create(py: Python<'py>, len_max: usize) -> PyResult<Self> {
        // SAFETY: `py` proves that we are attached; a bad length is refused with an exception.
        let writer = unsafe { compat::PyBytesWriter_Create(len_max.cast_signed()) };
        if writer.is_null() { Err(PyErr::fetch(py)) } else { Ok(Self { py, writer, len: 0, len_max }) }
    }

    /// How much fits in still.
    pub(crate) fn room(&self) -> usize {
        self.len_max - self.len
    }

    /// Calls `write` with the memory that is free; `write` returns how much it wrote.
    #[inline]
    pub(crate) fn fill<E>(
        &mut self,
        write: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let room = self.room();
        // SAFETY: the writer is not finished.
        let start = unsafe { compat::PyBytesWriter_GetData(self.writer) }.cast::<MaybeUninit<u8>>();
        // SAFETY: the writer has `len_max` bytes there, and `len` is no more.
        let rest = unsafe { start.add(self.len) };
        // SAFETY: `room` bytes are there, which nobody else uses.
        let count = write(unsafe { slice::from_raw_parts_mut(rest, room) })?;
        self.len += count.min(room);
        Ok(count)
    }

    /// Calls `write` with a memoryview of the memory that is free; `write` returns how much it wrote.
    pub(crate) fn extend(&mut self, write: impl FnOnce(&Object<'py>) -> PyResult<usize>) -> PyResult<usize> {
        let room = self.room();
        // SAFETY: the writer is not finished.
        let start = unsafe { compat::PyBytesWriter_GetData(self.writer) }.cast::<u8>();
        // SAFETY: the writer has `len_max` bytes there, and `len` is no more.
        let rest = unsafe { start.add(self.len) };
        // SAFETY: `room` bytes are there, which nobody else uses.
        let written = unsafe { lend(self.py, (rest, room), ffi::PyBUF_WRITE, write) };
        let count = written.unwrap_or_else(|Held(error)| {
            self.writer = ptr::null_mut();
            Err(error)
        })?;
        self.len += count.min(room);
        Ok(count)
    }

    /// What was written, if that is anything.
    pub(crate) fn finish(mut self) -> PyResult<Option<Bound<'py, PyBytes>>> {
        if self.len == 0 {
            return Ok(None);
        }
        let writer = mem::replace(&mut self.writer, ptr::null_mut());
        // SAFETY: the writer is used no more; `len` of its bytes were written.
        let bytes = unsafe { compat::PyBytesWriter_FinishWithSize(writer, self.len.cast_signed()) };
        // SAFETY: a new reference to a bytes object, or null with an exception set.
        let bytes = unsafe { Bound::from_owned_ptr_or_err(self.py, bytes)? };
        Ok(Some(bytes.cast_into()?))
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        let _attached = self.py;
        if !self.writer.is_null() {
            // SAFETY: the writer is not finished, and is used no more.
            unsafe { compat::PyBytesWriter_Discard(self.writer) };
        }
    }
}

/// The bytes that an object shows, given back on drop.
pub(crate) struct Shown<'py> {
    py: Python<'py>,
    view: Box<ffi::Py_buffer>,
    /// Does somebody hold a part of it?
    held: Cell<bool>,
}

impl<'py> Shown<'py> {
    /// Borrows the memory of `object`, which must be in one piece.
    pub(crate) fn by(object: &Object<'py>) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: `object` is valid, and the view lives in its box for as long as the memory is shown.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, ffi::PyBUF_SIMPLE) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self { py: object.py(), view, held: Cell::new(false) })
    }

    pub(crate) fn len(&self) -> usize {
        self.view.len.cast_unsigned()
    }

    /// Calls `read` with the memory. `read` must not run Python code.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        if self.len() == 0 || self.view.buf.is_null() {
            return read(&[]);
        }
        // SAFETY: the exporter keeps `len` bytes at `buf` until the view is released. We hold the
        // interpreter lock and `read` runs no Python code, so nobody else of Python's changes them.
        read(unsafe { slice::from_raw_parts(self.view.buf.cast::<u8>(), self.len()) })
    }

    /// Calls `read` with a memoryview of a part of the memory.
    pub(crate) fn part<R>(
        &self,
        part: Range<usize>,
        read: impl FnOnce(&Object<'py>) -> PyResult<R>,
    ) -> PyResult<R> {
        assert!(part.start <= part.end && part.end <= self.len(), "a part is inside of the whole");
        // SAFETY: the exporter keeps `len` bytes at `buf`, and the part begins among them.
        let start = unsafe { self.view.buf.cast::<u8>().add(part.start) };
        // SAFETY: the exporter keeps them until the view is released.
        let done = unsafe { lend(self.py, (start, part.len()), ffi::PyBUF_READ, read) };
        done.unwrap_or_else(|Held(error)| {
            self.held.set(true);
            Err(error)
        })
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _attached = self.py;
        if self.held.get() {
            return;
        }
        // SAFETY: the view was filled by `PyObject_GetBuffer` and is released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) };
    }
}

/// The writable memory that an object lends, given back on drop.
pub(crate) struct Lent<'py> {
    py: Python<'py>,
    view: Box<ffi::Py_buffer>,
}

impl<'py> Lent<'py> {
    /// Borrows the memory of `object`, which must be writable and in one piece.
    pub(crate) fn by(object: &Object<'py>) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        let flags = ffi::PyBUF_WRITABLE | ffi::PyBUF_SIMPLE;
        // SAFETY: `object` is valid, and the view lives in its box for as long as the memory is lent.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) } < 0 {
            return Err(PyErr::fetch(object.py()));
        }
        let lent = Self { py: object.py(), view };
        if lent.view.buf.is_null() && lent.view.len != 0 {
            return Err(PyBufferError::new_err("the object lends no memory"));
        }
        Ok(lent)
    }

    pub(crate) fn len(&self) -> usize {
        self.view.len.cast_unsigned()
    }

    /// Calls `write` with the memory. `write` must not run Python code.
    pub(crate) fn fill<R>(&mut self, write: impl FnOnce(&mut [MaybeUninit<u8>]) -> R) -> R {
        if self.len() == 0 {
            return write(&mut []);
        }
        let start = self.view.buf.cast::<MaybeUninit<u8>>();
        // SAFETY: the exporter keeps `len` writable bytes at `buf` until the view is released. We hold
        // the interpreter lock and `write` runs no Python code, so nobody else of Python's uses them.
        write(unsafe { slice::from_raw_parts_mut(start, self.view.len.cast_unsigned()) })
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let _attached = self.py;
        // SAFETY: the view was filled by `PyObject_GetBuffer` and is released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) };
    }
}

/// Why the memory of a part must stay.
struct Held(PyErr);

/// Calls `work` with a memoryview of `len` bytes at `start`, which is of no use to anybody afterwards.
/// If somebody holds the memory even so, it must never be freed.
///
/// # Safety
/// The memory must be there until this returns, and be writable if `flags` say so.
unsafe fn lend<'py, R>(
    py: Python<'py>,
    (start, len): (*mut u8, usize),
    flags: c_int,
    work: impl FnOnce(&Object<'py>) -> PyResult<R>,
) -> Result<PyResult<R>, Held> {
    // SAFETY: the caller says that the memory is there.
    let view = unsafe { ffi::PyMemoryView_FromMemory(start.cast(), len.cast_signed(), flags) };
    // SAFETY: a new reference, or null with an exception set.
    let view = match unsafe { Bound::from_owned_ptr_or_err(py, view) } {
        Ok(view) => view,
        Err(error) => return Ok(Err(error)),
    };
    let result = work(&view);
    // SAFETY: `view` is a valid object.
    if unsafe { ffi::Py_REFCNT(view.as_ptr()) } > 1 {
        view.call_method0(names::release(py)).map_err(Held)?;
    }
    Ok(result)
}
