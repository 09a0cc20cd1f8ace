//! Visit: how an object shows the collector what it refers to.
//!
//! One type for slots of native classes and for classes of PyO3, so that state which both hold has one `traverse`.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use super::owned::Owned;

/// The collector's visitor.
pub(crate) enum Visit<'a> {
    /// As a slot of a native class gets it.
    Slot { visit: ffi::visitproc, arg: *mut c_void },
    /// As a class of PyO3 gets it.
    Class { visit: &'a PyVisit<'a>, stopped: RefCell<Option<PyTraverseError>> },
}

impl<'a> Visit<'a> {
    pub(crate) fn of_class(visit: &'a PyVisit<'a>) -> Self {
        Self::Class { visit, stopped: RefCell::new(None) }
    }

    /// As `call`, for a reference that the fence keeps as a pointer.
    #[inline]
    pub(super) fn pointer(&self, object: *mut ffi::PyObject) -> c_int {
        match self {
            // SAFETY: the pair was handed to `tp_traverse`, in which we are, and `object` is alive.
            Self::Slot { visit, arg } => unsafe { visit(object, *arg) },
            Self::Class { .. } => 0,
        }
    }

    /// Shows one reference; the result is to be returned at once if it is not 0.
    #[inline]
    pub(crate) fn call<T>(&self, object: &Py<T>) -> c_int {
        match self {
            Self::Slot { .. } => self.pointer(object.as_ptr()),
            Self::Class { visit, stopped } => match visit.call(object) {
                Ok(()) => 0,
                Err(stop) => {
                    stopped.replace(Some(stop));
                    -1
                }
            },
        }
    }

    #[inline]
    pub(crate) fn option<T>(&self, object: Option<&Py<T>>) -> c_int {
        object.map_or(0, |object| self.call(object))
    }

    /// Shows one after the other, until the collector has seen enough.
    pub(crate) fn each<'o, T: 'o>(&self, objects: impl IntoIterator<Item = &'o Owned<T>>) -> c_int {
        objects.into_iter().map(|object| self.call(object)).find(|shown| *shown != 0).unwrap_or(0)
    }

    /// The result of `__traverse__` of a class of PyO3.
    pub(crate) fn end(self) -> Result<(), PyTraverseError> {
        match self {
            Self::Class { stopped, .. } => stopped.into_inner().map_or(Ok(()), Err),
            Self::Slot { .. } => Ok(()),
        }
    }
}
