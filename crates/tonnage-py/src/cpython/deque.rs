//! `collections.deque`, the storage of most queues: its methods are called by pointer, without a look-up.

use std::ffi::{CStr, c_int};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

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
}

impl Deques {
    /// Looks at the class once.
    pub(crate) fn find(class: &Object<'_>) -> PyResult<Self> {
        let class = class.cast::<PyType>()?;
        let deque = class.call0()?;
        let append = method(&deque, c"append", ffi::METH_O)?;
        let popleft = method(&deque, c"popleft", ffi::METH_NOARGS)?;
        let found = match (append, popleft) {
            (Some(append), Some(popleft)) if has_size_in_head(class)? => {
                Some(Found { class: class.clone().unbind(), append, popleft })
            }
            _ => None,
        };
        Ok(Self { found })
    }

    /// The object as a deque, if it is one, and of no subclass.
    #[inline(always)]
    pub(crate) fn exact<'a, 'py>(&'a self, object: &'a Object<'py>) -> Option<Deque<'a, 'py>> {
        let found = self.found.as_ref()?;
        // SAFETY: a valid object has a type.
        let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
        if class.cast() == found.class.as_ptr() { Some(Deque { object, found }) } else { None }
    }
}

/// A deque, of no subclass: it stays one, as CPython lets nobody give it another class.
pub(crate) struct Deque<'a, 'py> {
    object: &'a Object<'py>,
    found: &'a Found,
}

impl<'py> Deque<'_, 'py> {
    /// How many items it has. Runs no Python code.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: an object of a class whose objects have their length in the head.
        unsafe { size_in_head(self.object) }.cast_unsigned()
    }

    /// `deque.append(item)`.
    #[inline(always)]
    pub(crate) fn append(&self, item: &Object<'_>) -> PyResult<()> {
        // SAFETY: a method of the object's class that takes one argument; both objects are bound.
        let result = unsafe { (self.found.append)(self.object.as_ptr(), item.as_ptr()) };
        // SAFETY: a new reference, or null with an exception set.
        unsafe { returned(self.object.py(), result) }.map(drop)
    }

    /// `deque.popleft()`. Runs no Python code if there is an item.
    #[inline(always)]
    pub(crate) fn popleft(&self) -> PyResult<Object<'py>> {
        // SAFETY: a method of the object's class that takes no argument; the object is bound.
        let result = unsafe { (self.found.popleft)(self.object.as_ptr(), ptr::null_mut()) };
        // SAFETY: a new reference, or null with an exception set.
        unsafe { returned(self.object.py(), result) }
    }
}

/// # Safety
/// The result is a new reference, or null with an exception set.
#[inline(always)]
unsafe fn returned(py: Python<'_>, result: *mut ffi::PyObject) -> PyResult<Object<'_>> {
    if result.is_null() {
        return Err(fetched(py));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { Bound::from_owned_ptr(py, result) })
}

#[cold]
#[inline(never)]
fn fetched(py: Python<'_>) -> PyErr {
    PyErr::fetch(py)
}

/// Have its objects their length where those of variable size have it? A look there is less than a call.
fn has_size_in_head(class: &Bound<'_, PyType>) -> PyResult<bool> {
    // SAFETY: a type object is valid.
    let size = unsafe { (*class.as_type_ptr()).tp_basicsize };
    if size.cast_unsigned() < size_of::<ffi::PyVarObject>() {
        return Ok(false);
    }
    for len in [0, 1, 3] {
        let deque = class.call1((PyTuple::new(class.py(), vec![0; len])?,))?;
        // SAFETY: the object has room for such a head, as was asked.
        if unsafe { size_in_head(&deque) } != len.cast_signed() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// # Safety
/// The object is at least as large as one of variable size.
#[inline]
unsafe fn size_in_head(object: &Object<'_>) -> ffi::Py_ssize_t {
    // SAFETY: the caller's promise; a number, which is only read under the interpreter's lock.
    unsafe { (*object.as_ptr().cast::<ffi::PyVarObject>()).ob_size }
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
