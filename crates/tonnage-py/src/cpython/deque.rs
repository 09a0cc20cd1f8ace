//! `collections.deque`, the storage of most queues: its methods are called by pointer, without a look-up.

use std::ffi::{CStr, c_int};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::slots::Object;

/// The class and its methods.
pub(crate) struct Deques {
    /// Nothing if the class is not made as CPython makes it; then no object passes for a deque.
    found: Option<Found>,
}

struct Found {
    class: Py<PyType>,
    append: ffi::PyCFunction,
    popleft: ffi::PyCFunction,
    len: ffi::lenfunc,
}

impl Deques {
    /// Looks at the class once.
    pub(crate) fn find(class: &Object<'_>) -> PyResult<Self> {
        let class = class.cast::<PyType>()?;
        let deque = class.call0()?;
        let append = method(&deque, c"append", ffi::METH_O)?;
        let popleft = method(&deque, c"popleft", ffi::METH_NOARGS)?;
        // SAFETY: a type object is valid.
        let sequence = unsafe { (*class.as_type_ptr()).tp_as_sequence };
        // SAFETY: the table is the type's own, or null.
        let len = unsafe { sequence.as_ref() }.and_then(|sequence| sequence.sq_length);
        let found = match (append, popleft, len) {
            (Some(append), Some(popleft), Some(len)) => {
                Some(Found { class: class.clone().unbind(), append, popleft, len })
            }
            _ => None,
        };
        Ok(Self { found })
    }

    /// Is it a deque, and of no subclass?
    #[inline]
    fn exact(&self, object: &Py<PyAny>) -> Option<&Found> {
        let found = self.found.as_ref()?;
        // SAFETY: a valid object has a type.
        let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
        if class.cast() == found.class.as_ptr() { Some(found) } else { None }
    }

    /// `len(deque)`; nothing if it is none. Runs no Python code.
    #[inline]
    pub(crate) fn len(&self, _py: Python<'_>, object: &Py<PyAny>) -> Option<usize> {
        let found = self.exact(object)?;
        // SAFETY: a slot of the object's type.
        let len = unsafe { (found.len)(object.as_ptr()) };
        usize::try_from(len).ok()
    }

    /// `deque.append(item)`; nothing if it is none.
    #[inline]
    pub(crate) fn append(&self, object: &Object<'_>, item: &Object<'_>) -> Option<PyResult<()>> {
        let found = self.exact(object.as_unbound())?;
        // SAFETY: a method of the object's class that takes one argument; both objects are bound.
        let result = unsafe { (found.append)(object.as_ptr(), item.as_ptr()) };
        // SAFETY: a new reference, or null with an exception set.
        Some(unsafe { Bound::from_owned_ptr_or_err(object.py(), result) }.map(drop))
    }

    /// `deque.popleft()`; nothing if it is none.
    #[inline]
    pub(crate) fn popleft<'py>(&self, object: &Object<'py>) -> Option<PyResult<Object<'py>>> {
        let found = self.exact(object.as_unbound())?;
        // SAFETY: a method of the object's class that takes no argument; the object is bound.
        let result = unsafe { (found.popleft)(object.as_ptr(), ptr::null_mut()) };
        // SAFETY: a new reference, or null with an exception set.
        Some(unsafe { Bound::from_owned_ptr_or_err(object.py(), result) })
    }
}

/// The function behind a method, if it is one in C that is called with these flags.
fn method(object: &Object<'_>, name: &'static CStr, flags: c_int) -> PyResult<Option<ffi::PyCFunction>> {
    // SAFETY: the object is bound, and the name a string that ends with a zero.
    let method = unsafe { ffi::PyObject_GetAttrString(object.as_ptr(), name.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let method = unsafe { Bound::from_owned_ptr_or_err(object.py(), method)? };
    // SAFETY: a valid object.
    if unsafe { ffi::PyCFunction_CheckExact(method.as_ptr()) } == 0 {
        return Ok(None);
    }
    // SAFETY: it is a built-in function, and so has this layout.
    let function = unsafe { &*method.as_ptr().cast::<ffi::PyCFunctionObject>() };
    // SAFETY: a method's definition lives as long as its class, which is kept.
    let definition = unsafe { &*function.m_ml };
    if definition.ml_flags != flags {
        return Ok(None);
    }
    // SAFETY: with these flags it is this kind of function.
    Ok(Some(unsafe { definition.ml_meth.PyCFunction }))
}
