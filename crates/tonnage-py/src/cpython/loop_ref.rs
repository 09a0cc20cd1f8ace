//! `LoopRef`: the loop of a future and marks of the future, in one word.
//!
//! Bit 0 says that the loop is one of ours, so that scheduling needs no call through Python, and no
//! check of the type. Bits 1 to 3 are marks, which in a field of their own would cost each future and
//! task 16 bytes. Objects are aligned to 16 bytes, so the bits are free. The collector sees the address
//! without them (`traverse`).

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::args::borrowed;
use super::owned::{Owned, another};
use super::slots::Object;
use super::visit::Visit;
use crate::event_loop::EventLoop;

const NATIVE: usize = 1;
const BITS: usize = 0b1111;

/// The class of the loops that programs use, the first that was met: it tells them without a look at its bases.
static USUAL_CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// The class of the loops of others that the program uses, likewise.
static FOREIGN_CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// The native loop behind `object`.
#[inline]
pub(crate) fn native_loop<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, EventLoop>> {
    // SAFETY: a valid object has a type.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    if class == USUAL_CLASS.load(Ordering::Relaxed) {
        // SAFETY: the class was found to be a subclass of EventLoop, and lives for ever.
        return Some(unsafe { object.cast_unchecked::<EventLoop>() });
    }
    if class == FOREIGN_CLASS.load(Ordering::Relaxed) { None } else { unusual_loop(object) }
}

/// As `native_loop`, of a reference that is handed in.
#[inline(always)]
pub(crate) fn into_native_loop(object: Object<'_>) -> Option<Bound<'_, EventLoop>> {
    native_loop(&object)?;
    // SAFETY: it was just found to be one.
    Some(unsafe { object.cast_into_unchecked() })
}

#[cold]
fn unusual_loop<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, EventLoop>> {
    let found = object.cast::<EventLoop>().ok();
    let known = if found.is_some() { &USUAL_CLASS } else { &FOREIGN_CLASS };
    let class = object.get_type();
    let first = ptr::null_mut();
    if known.compare_exchange(first, class.as_type_ptr(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        // The reference is kept for ever, so that no other class can be made at its address.
        let _kept = class.into_ptr();
    }
    found
}

/// What a future remembers beside its loop.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    /// Set by awaiting, so that a task can tell `await future` from `yield future`.
    Blocking = 0b010,
    /// There is an exception that nobody has looked at.
    LogTraceback = 0b100,
    /// Its finalizer has run, which CPython calls once for each object.
    Finalized = 0b1000,
}

/// A strong reference to a loop of any kind, or none.
pub(crate) struct LoopRef(usize);

/// The loop behind a `LoopRef`.
pub(crate) enum LoopOf<'a, 'py> {
    None,
    /// One of ours.
    Native(&'a EventLoop),
    Foreign(Object<'py>),
}

impl LoopRef {
    pub(crate) const NONE: Self = Self(0);

    /// A loop of ours whose scheduling nobody overrides is `Native`.
    pub(crate) fn of(event_loop: &Object<'_>) -> Self {
        let tag = if EventLoop::of(event_loop).is_some() { NATIVE } else { 0 };
        Self::tagged(event_loop, tag)
    }

    #[inline]
    pub(crate) fn native(event_loop: &Bound<'_, EventLoop>) -> Self {
        Self::tagged(event_loop.as_any(), NATIVE)
    }

    #[inline]
    fn tagged(event_loop: &Object<'_>, tag: usize) -> Self {
        Self(Owned::from(event_loop).into_bound(event_loop.py()).into_ptr() as usize | tag)
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0 & !BITS == 0
    }

    #[inline]
    pub(crate) fn is_native(&self) -> bool {
        self.0 & NATIVE != 0
    }

    #[inline]
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.0 & mark as usize != 0
    }

    #[inline]
    pub(crate) fn mark(&mut self, mark: Mark, on: bool) {
        if on {
            self.0 |= mark as usize;
        } else {
            self.0 &= !(mark as usize);
        }
    }

    /// Puts another loop in its place. Whether the future was finalized stays as it is.
    #[must_use]
    pub(crate) fn replace(&mut self, other: Self) -> Self {
        let finalized = self.has(Mark::Finalized);
        let old = std::mem::replace(self, other);
        self.mark(Mark::Finalized, finalized);
        old
    }

    /// Takes a loop of ours, where there was none. The marks stay as they are.
    #[inline(always)]
    pub(crate) fn fill(&mut self, event_loop: Bound<'_, EventLoop>) {
        debug_assert!(self.is_none(), "there is none to be dropped");
        self.0 |= event_loop.into_ptr() as usize | NATIVE;
    }

    #[inline]
    pub(crate) fn is(&self, event_loop: &Object<'_>) -> bool {
        self.address() == Some(event_loop.as_ptr())
    }

    #[inline]
    fn address(&self) -> Option<*mut ffi::PyObject> {
        if self.is_none() { None } else { Some((self.0 & !BITS) as *mut ffi::PyObject) }
    }

    /// The loop, as an object for use on the stack.
    #[inline]
    pub(crate) fn get_bound<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        let address = self.address()?;
        // SAFETY: the word owns a reference, so the object is alive.
        Some(another(unsafe { Bound::ref_from_ptr(py, &address) }))
    }

    #[inline]
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        if let Some(event_loop) = self.get_bound(py) {
            let tag = if self.is_native() { NATIVE } else { 0 };
            return Self::tagged(&event_loop, tag);
        }
        Self::NONE
    }

    #[inline]
    pub(crate) fn get<'a, 'py>(&'a self, py: Python<'py>) -> LoopOf<'a, 'py> {
        match self.get_native(py) {
            Some(native) => LoopOf::Native(native),
            None => self.get_bound(py).map_or(LoopOf::None, LoopOf::Foreign),
        }
    }

    /// The loop, if it is one of ours.
    #[inline]
    pub(crate) fn get_native(&self, py: Python<'_>) -> Option<&EventLoop> {
        if !self.is_native() {
            return None;
        }
        let object = self.address()?;
        // SAFETY: the bit was set after the type was checked, and the object is alive as long as `self`.
        let event_loop: &EventLoop = unsafe { borrowed::<EventLoop>(py, &object) }.get();
        // SAFETY: the value lives in the object, not in the place that was borrowed.
        Some(unsafe { &*ptr::from_ref(event_loop) })
    }

    #[inline]
    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.address().map_or(0, |address| visit.pointer(address))
    }
}

impl Drop for LoopRef {
    #[inline]
    fn drop(&mut self) {
        if let Some(address) = self.address() {
            // SAFETY: the one reference that the word owns; dropped while attached, as `Owned`.
            unsafe { ffi::Py_DECREF(address) };
        }
    }
}
