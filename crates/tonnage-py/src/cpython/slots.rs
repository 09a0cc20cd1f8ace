//! The slot table of a native class: methods, attributes and slots, each a plain Rust function.
//!
//! The slots' trampolines are here, those of methods in `methods`; what they share is in `trampoline`.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::args::Args;
use super::methods::Methods;
use super::native_class::{NativeClass, is_exact, is_instance};
use super::refcount;
use super::trampoline::{body, receiver, run};

pub(crate) type Object<'py> = Bound<'py, PyAny>;

pub(crate) struct Slots<T> {
    slots: Vec<ffi::PyType_Slot>,
    methods: Methods<T>,
    attributes: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
    class: PhantomData<T>,
}

impl<T> Deref for Slots<T> {
    type Target = Methods<T>;

    fn deref(&self) -> &Methods<T> {
        &self.methods
    }
}

impl<T> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut Methods<T> {
        &mut self.methods
    }
}

impl<T: NativeClass> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![],
            methods: Methods::new(),
            attributes: vec![],
            members: vec![],
            class: PhantomData,
        }
    }

    /// `Class[int]`, as `types.GenericAlias`.
    pub(crate) fn class_getitem(&mut self) {
        let call = ffi::PyMethodDefPointer { PyCFunction: class_getitem };
        self.methods.method(c"__class_getitem__", c"See PEP 585", call, ffi::METH_O | ffi::METH_CLASS);
    }

    pub(crate) fn getter<G>(&mut self, name: &'static CStr, _get: G)
    where
        G: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.attribute(name, get::<T, G>, None);
    }

    /// A getter that programs know, with its docstring.
    pub(crate) fn property<G>(&mut self, name: &'static CStr, doc: &'static CStr, get: G)
    where
        G: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.getter(name, get);
        if let Some(attribute) = self.attributes.last_mut() {
            attribute.doc = doc.as_ptr();
        }
    }

    /// An attribute that can be set; deleting it is refused.
    pub(crate) fn attribute_pair<G, S>(&mut self, name: &'static CStr, _get: G, _set: S)
    where
        G: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
        S: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<()> + Copy + 'static,
    {
        self.attribute(name, get::<T, G>, Some(set::<T, S>));
    }

    /// Lets objects of exactly this class pass for asyncio's: `isinstance` also asks for `__class__`.
    pub(crate) fn passes_for<C>(&mut self, _class: C)
    where
        C: for<'py> Fn(Python<'py>) -> PyResult<&'py Object<'py>> + Copy + 'static,
    {
        self.getter(c"__class__", class_of::<T, C>);
    }

    pub(crate) fn init<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<()> + Copy + 'static,
    {
        self.function(ffi::Py_tp_init, init::<T, F> as *mut c_void);
    }

    /// `__call__`.
    pub(crate) fn call<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_tp_call, call::<T, F> as *mut c_void);
    }

    pub(crate) fn repr<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_tp_repr, unary::<T, F> as *mut c_void);
    }

    /// `__str__`.
    pub(crate) fn str<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_tp_str, unary::<T, F> as *mut c_void);
    }

    /// `__aiter__`.
    pub(crate) fn async_iterable<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_am_aiter, unary::<T, F> as *mut c_void);
    }

    /// `__aiter__` that returns itself, and `__anext__`.
    pub(crate) fn async_iterator<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_am_aiter, ffi::PyObject_SelfIter as *mut c_void);
        self.function(ffi::Py_am_anext, unary::<T, F> as *mut c_void);
    }

    /// What `await` takes, what it resumes, and what code that calls `__iter__()` or `__await__()` by
    /// name gets. An object that `await` resumes itself needs no iterator; but it shall not look like
    /// one, so `hide_next` takes the name `__next__` away.
    pub(crate) fn awaitable<A, N, I>(&mut self, _awaited: A, _next: N, iter: I)
    where
        A: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
        N: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
        I: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_tp_iter, unary::<T, I> as *mut c_void);
        self.function(ffi::Py_am_await, unary::<T, A> as *mut c_void);
        self.function(ffi::Py_tp_iternext, next::<T, N> as *mut c_void);
        self.function(ffi::Py_am_send, send::<T, N> as *mut c_void);
        self.methods.by_name_only(c"__await__", c"Return an iterator to be used in await expression.", iter);
    }

    /// What `await` takes in place of the object: a coroutine of ours.
    pub(crate) fn awaited_by<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_am_await, unary::<T, F> as *mut c_void);
    }

    /// What a coroutine has: `await` takes the object itself, and resumes it with `next`, as does `send`, which is for
    /// those who send by the C API; code that calls `__await__()` by name gets an iterator. It is no iterator itself:
    /// see `NativeClass::HIDES_NEXT`.
    pub(crate) fn coroutine<N, S, I>(&mut self, _next: N, _send: S, iter: I)
    where
        N: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
        S: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
        I: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        // `yield from` of a generator that `types.coroutine` has marked asks for it.
        self.function(ffi::Py_tp_iter, unary::<T, I> as *mut c_void);
        self.function(ffi::Py_am_await, itself as *mut c_void);
        self.function(ffi::Py_tp_iternext, next::<T, N> as *mut c_void);
        self.function(ffi::Py_am_send, send::<T, S> as *mut c_void);
        self.methods.by_name_only(c"__await__", c"Return an iterator to be used in await expression.", iter);
    }

    /// `__iter__` that returns itself, `__next__`, and the send slot, from one function.
    pub(crate) fn iterator<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
    {
        self.function(ffi::Py_tp_iter, ffi::PyObject_SelfIter as *mut c_void);
        self.function(ffi::Py_tp_iternext, next::<T, F> as *mut c_void);
        self.function(ffi::Py_am_send, send::<T, F> as *mut c_void);
    }

    /// `__eq__` and `__ne__`, called for objects of this class only; hashing is `hash`.
    pub(crate) fn equality<F, H>(&mut self, _equal: F, _hash: H)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Bound<'py, T>) -> PyResult<bool> + Copy + 'static,
        H: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<isize> + Copy + 'static,
    {
        self.function(ffi::Py_tp_richcompare, compare::<T, F> as *mut c_void);
        self.function(ffi::Py_tp_hash, hash::<T, H> as *mut c_void);
    }

    /// The finalizer: it runs before the object goes, and may resurrect it.
    pub(crate) fn finalizer<F>(&mut self, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) + Copy + 'static,
    {
        self.function(ffi::Py_tp_finalize, finalize::<T, F> as *mut c_void);
    }

    pub(super) fn function(&mut self, slot: c_int, function: *mut c_void) {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
    }

    pub(super) fn member(&mut self, name: &'static CStr, offset: usize) {
        self.members.push(ffi::PyMemberDef {
            name: name.as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset.cast_signed(),
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        });
    }

    /// The table for `PyType_FromSpec`. What the type keeps pointers to is leaked: types live for ever.
    pub(super) fn finish(mut self) -> Vec<ffi::PyType_Slot> {
        self.attributes.push(ffi::PyGetSetDef::default());
        self.members.push(ffi::PyMemberDef {
            name: ptr::null(),
            type_code: 0,
            offset: 0,
            flags: 0,
            doc: ptr::null(),
        });
        let methods = self.methods.leak().as_mut_ptr();
        let attributes = Box::leak(self.attributes.into_boxed_slice()).as_mut_ptr();
        let members = Box::leak(self.members.into_boxed_slice()).as_mut_ptr();
        let mut slots = self.slots;
        slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.cast() });
        slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: attributes.cast() });
        slots.push(ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: members.cast() });
        slots.push(ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() });
        slots
    }

    fn attribute(&mut self, name: &'static CStr, get: ffi::getter, set: Option<ffi::setter>) {
        self.attributes.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(get),
            set,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        });
    }
}

fn class_of<'py, T, C>(object: &Bound<'py, T>) -> PyResult<Object<'py>>
where
    T: NativeClass,
    C: for<'q> Fn(Python<'q>) -> PyResult<&'q Object<'q>> + Copy + 'static,
{
    if is_exact::<T>(object.as_any()) {
        return body::<C>()(object.py()).cloned();
    }
    Ok(object.as_any().get_type().into_any())
}

/// How a coroutine or an iterator came back.
pub(crate) enum Step<'py> {
    Yielded(Object<'py>),
    Returned(Object<'py>),
}

unsafe extern "C" fn class_getitem(
    class: *mut ffi::PyObject,
    item: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: both are valid objects for the call.
    unsafe { ffi::Py_GenericAlias(class, item) }
}

unsafe extern "C" fn get<T, G>(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject
where
    T: NativeClass,
    G: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as an attribute of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<G>()(receiver).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn set<T, S>(object: *mut ffi::PyObject, value: *mut ffi::PyObject, _: *mut c_void) -> c_int
where
    T: NativeClass,
    S: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<()> + Copy + 'static,
{
    run(-1, |py| {
        if value.is_null() {
            return Err(pyo3::exceptions::PyAttributeError::new_err("cannot delete attribute"));
        }
        // SAFETY: called by CPython as an attribute of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: the value is borrowed for the call.
        let value = unsafe { Bound::ref_from_ptr(py, &value) };
        body::<S>()(receiver, value).map(|()| 0)
    })
}

unsafe extern "C" fn init<T, F>(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> c_int
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<()> + Copy + 'static,
{
    run(-1, |py| {
        // SAFETY: called by CPython as `__init__` of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: a tuple, and a dictionary or null, borrowed for the call.
        let args = unsafe { Args::from_tuple(py, &args, &kwargs) };
        body::<F>()(receiver, args).map(|()| 0)
    })
}

unsafe extern "C" fn call<T, F>(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython for an object of `T` that is called.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: a tuple, and a dictionary or null, borrowed for the call.
        let args = unsafe { Args::from_tuple(py, &args, &kwargs) };
        body::<F>()(receiver, args).map(Bound::into_ptr)
    })
}

/// As CPython's own `PyObject_SelfIter`: whoever awaits drops the other reference at once.
unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by CPython as a slot of the object.
    unsafe { refcount::add(object) };
    object
}

unsafe extern "C" fn unary<T, F>(object: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a slot of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<F>()(receiver).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn next<T, F>(object: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a slot of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        match body::<F>()(receiver)? {
            Step::Yielded(value) => Ok(value.into_ptr()),
            // The end of an iterator with no exception set is StopIteration(None).
            Step::Returned(value) if value.is_none() => Ok(ptr::null_mut()),
            Step::Returned(value) => {
                super::stop_iteration::raise(value);
                Ok(ptr::null_mut())
            }
        }
    })
}

unsafe extern "C" fn send<T, F>(
    object: *mut ffi::PyObject,
    _sent: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
{
    run((ptr::null_mut(), ffi::PySendResult::PYGEN_ERROR), |py| {
        // SAFETY: called by CPython as a slot of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        Ok(match body::<F>()(receiver)? {
            Step::Yielded(value) => (value.into_ptr(), ffi::PySendResult::PYGEN_NEXT),
            Step::Returned(value) => (value.into_ptr(), ffi::PySendResult::PYGEN_RETURN),
        })
    })
    .store(result)
}

trait Store {
    fn store(self, result: *mut *mut ffi::PyObject) -> ffi::PySendResult;
}

impl Store for (*mut ffi::PyObject, ffi::PySendResult) {
    fn store(self, result: *mut *mut ffi::PyObject) -> ffi::PySendResult {
        // SAFETY: the interpreter hands in a place for the result.
        unsafe { result.write(self.0) };
        self.1
    }
}

unsafe extern "C" fn compare<T, F>(
    left: *mut ffi::PyObject,
    right: *mut ffi::PyObject,
    operation: c_int,
) -> *mut ffi::PyObject
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Bound<'py, T>) -> PyResult<bool> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a slot of `T`; the right side is any object.
        let left = unsafe { receiver::<T>(py, &left) };
        // SAFETY: the right side is borrowed for the call.
        let right = unsafe { Bound::ref_from_ptr(py, &right) };
        let wanted = match operation {
            ffi::Py_EQ => true,
            ffi::Py_NE => false,
            _ => return Ok(py.NotImplemented().into_ptr()),
        };
        if !is_instance::<T>(right) {
            return Ok(py.NotImplemented().into_ptr());
        }
        // SAFETY: checked above.
        let equal = body::<F>()(left, unsafe { right.cast_unchecked::<T>() })?;
        Ok(pyo3::types::PyBool::new(py, equal == wanted).to_owned().into_ptr())
    })
}

unsafe extern "C" fn hash<T, H>(object: *mut ffi::PyObject) -> ffi::Py_hash_t
where
    T: NativeClass,
    H: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<isize> + Copy + 'static,
{
    run(-1, |py| {
        // SAFETY: called by CPython as a slot of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<H>()(receiver)
    })
}

unsafe extern "C" fn finalize<T, F>(object: *mut ffi::PyObject)
where
    T: NativeClass,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) + Copy + 'static,
{
    run((), |py| {
        let pending = PyErr::take(py);
        // SAFETY: called by CPython as a slot of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<F>()(receiver);
        if let Some(pending) = pending {
            pending.restore(py);
        }
        Ok(())
    });
}
