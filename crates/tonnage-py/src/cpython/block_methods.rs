//! `__aenter__` and `__aexit__`: the methods that the interpreter looks up for each `async with` block.
//!
//! Up to CPython 3.13 it asks their descriptors for two bound methods, and to make and free these costs as much as
//! what a lock does in the block. So their classes are CPython's own, and look the same in all they are asked for,
//! but a bound method whose block has ended is kept for the next one. From 3.14 on the interpreter binds nothing.
//! Invariant: a spare is dead, and complete but for its receiver. The collector knows the ones that are bound, each from
//! its binding on: one that it had known before could be in a generation that is never collected
//! (`gc.freeze`), or rarely, and with it the cycle that it is a part of.

use std::ffi::{CStr, c_int};
use std::mem::replace;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::args::Args;
use super::free_list::FreeList;
use super::methods::{no_args, with_args};
use super::refcount;
use super::slots::Object;
use super::trampoline::{body, receiver, run};

/// The class of the descriptors, once it is made; types live for ever.
static DESCRIPTOR: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
/// That of the bound methods.
static BOUND: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// As many as there are tasks kept: each may be in a block.
struct Spares(FreeList);

// SAFETY: the list is used under the interpreter lock only.
unsafe impl Sync for Spares {}

static SPARES: Spares = Spares(FreeList::new());

/// A method, and how it is called when it is bound.
#[repr(C)]
pub(super) struct BlockMethod {
    /// The first field: descriptors and bound methods point at it as their definition.
    definition: ffi::PyMethodDef,
    call_bound: ffi::vectorcallfunc,
}

/// The layout of CPython's `PyCFunctionObject`.
#[repr(C)]
struct BoundMethod {
    base: ffi::PyObject,
    method: *mut BlockMethod,
    receiver: *mut ffi::PyObject,
    module: *mut ffi::PyObject,
    weakrefs: *mut ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
}

const _: () = assert!(size_of::<BoundMethod>() == size_of::<ffi::PyCFunctionObject>());

impl BlockMethod {
    pub(super) fn no_args<T, F>(name: &'static CStr, doc: &'static CStr) -> Self
    where
        T: 'static,
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let function = ffi::PyMethodDefPointer { PyCFunction: no_args::<T, F> };
        Self::new(name, doc, (function, ffi::METH_NOARGS), bound_no_args::<T, F>)
    }

    pub(super) fn with_args<T, F>(name: &'static CStr, doc: &'static CStr) -> Self
    where
        T: 'static,
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: with_args::<T, F> };
        let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
        Self::new(name, doc, (function, flags), bound_with_args::<T, F>)
    }

    fn new(
        name: &'static CStr,
        doc: &'static CStr,
        (function, flags): (ffi::PyMethodDefPointer, c_int),
        call_bound: ffi::vectorcallfunc,
    ) -> Self {
        let definition = ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: function,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        };
        Self { definition, call_bound }
    }

    fn install(self, class: &Bound<'_, PyType>) -> PyResult<()> {
        let py = class.py();
        make_classes(py)?;
        let method = Box::leak(Box::new(self));
        // SAFETY: the definition lives for ever, and its function takes receivers of this class only.
        let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), &raw mut method.definition) };
        // SAFETY: a new reference, or null with an exception set.
        let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor)? };
        // SAFETY: nobody else has the object, and the class differs from its own in how it binds only.
        unsafe { (*descriptor.as_ptr()).ob_type = DESCRIPTOR.load(Ordering::Relaxed) };
        // SAFETY: a heap type has its dictionary in this field.
        let dict = unsafe { (*class.as_type_ptr()).tp_dict };
        // SAFETY: the dictionary is the type's own; the name is a string that lives for ever.
        if unsafe { ffi::PyDict_SetItemString(dict, method.definition.ml_name, descriptor.as_ptr()) } < 0 {
            return Err(PyErr::fetch(py));
        }
        // SAFETY: tells CPython that lookups of the type must not be remembered.
        unsafe { ffi::PyType_Modified(class.as_type_ptr()) };
        Ok(())
    }
}

/// Puts the methods into a new class, which nobody has used yet.
pub(super) fn install(methods: Vec<BlockMethod>, class: &Bound<'_, PyType>) -> PyResult<()> {
    methods.into_iter().try_for_each(|method| method.install(class))
}

fn make_classes(py: Python<'_>) -> PyResult<()> {
    if !BOUND.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    let descriptor = subclass(py, &raw mut ffi::PyMethodDescr_Type, |class| {
        // Else the interpreter would bind it where it calls a method by its name.
        class.tp_flags |= ffi::Py_TPFLAGS_METHOD_DESCRIPTOR;
        class.tp_descr_get = Some(bind);
    })?;
    let bound = subclass(py, &raw mut ffi::PyCFunction_Type, |class| class.tp_dealloc = Some(end))?;
    DESCRIPTOR.store(descriptor, Ordering::Relaxed);
    BOUND.store(bound, Ordering::Relaxed);
    Ok(())
}

/// A class that inherits all but what `differ` sets, also the name. The two bases cannot be subclassed by Python code
/// and `PyType_FromSpec`, so it is a static type, as CPython's own subclass of the second is.
fn subclass(
    py: Python<'_>,
    base: *mut ffi::PyTypeObject,
    differ: impl FnOnce(&mut ffi::PyTypeObject),
) -> PyResult<*mut ffi::PyTypeObject> {
    // SAFETY: a type of only zeros is one that inherits everything.
    let mut class: Box<ffi::PyTypeObject> = Box::new(unsafe { std::mem::zeroed() });
    class.ob_base.ob_base = ffi::PyObject_HEAD_INIT;
    // SAFETY: a type of CPython's, which lives for ever, as its name does.
    class.tp_name = unsafe { (*base).tp_name };
    class.tp_base = base;
    class.tp_flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_VECTORCALL;
    differ(&mut class);
    let class = Box::leak(class);
    // SAFETY: the type is complete, and lives for ever.
    if unsafe { ffi::PyType_Ready(class) } < 0 {
        return Err(PyErr::fetch(py));
    }
    // A type without a docstring has None in its place, which would hide the attribute of the base.
    // SAFETY: the dictionary is the type's own, which nobody uses yet.
    if unsafe { ffi::PyDict_DelItemString(class.tp_dict, c"__doc__".as_ptr()) } < 0 {
        return Err(PyErr::fetch(py));
    }
    Ok(class)
}

/// `__get__` of the descriptors.
unsafe extern "C" fn bind(
    descriptor: *mut ffi::PyObject,
    object: *mut ffi::PyObject,
    class: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by CPython for a descriptor of ours, which has this layout.
    let fields = unsafe { &*descriptor.cast::<ffi::PyMethodDescrObject>() };
    // SAFETY: the object is valid, if there is one, and so is the type.
    if object.is_null() || unsafe { ffi::PyObject_TypeCheck(object, fields.d_common.d_type) } == 0 {
        // SAFETY: a type of CPython's.
        let base = unsafe { ffi::PyMethodDescr_Type.tp_descr_get }.expect("its descriptors bind");
        // SAFETY: what we were called with. It gives the descriptor itself, or raises TypeError.
        return unsafe { base(descriptor, object, class) };
    }
    // SAFETY: CPython calls slots on an attached thread; see `trampoline::run`.
    let py = unsafe { Python::assume_attached() };
    let mut bound = SPARES.0.take(py);
    if bound.is_null() {
        bound = new_spare();
        if bound.is_null() {
            return bound; // MemoryError is set.
        }
    }
    let method = fields.d_method.cast::<BlockMethod>();
    // SAFETY: the object is a spare, which has this layout, and is written by nobody else meanwhile.
    let fields = unsafe { &mut *bound.cast::<BoundMethod>() };
    fields.method = method;
    // SAFETY: the definition of a descriptor of ours is the beginning of this, and lives for ever.
    fields.vectorcall = Some(unsafe { (*method).call_bound });
    // SAFETY: a valid object; the bound method owns the reference.
    unsafe { refcount::add(object) };
    fields.receiver = object;
    // SAFETY: all fields are valid, and a spare is not tracked.
    unsafe { ffi::PyObject_GC_Track(bound.cast()) };
    bound
}

/// A bound method without a receiver.
#[cold]
fn new_spare() -> *mut ffi::PyObject {
    // SAFETY: the type is complete, has no items, and its objects have a collector's head.
    let object = unsafe { ffi::PyObject_GC_New::<ffi::PyObject>(BOUND.load(Ordering::Relaxed)) };
    if object.is_null() {
        return object;
    }
    // SAFETY: nobody else has the object, and nothing was written behind its head yet.
    let fields = unsafe { &mut *object.cast::<BoundMethod>() };
    fields.method = ptr::null_mut();
    fields.receiver = ptr::null_mut();
    fields.module = ptr::null_mut();
    fields.weakrefs = ptr::null_mut();
    fields.vectorcall = None;
    object
}

/// The deallocator of bound methods: they become spares.
unsafe extern "C" fn end(object: *mut ffi::PyObject) {
    // SAFETY: CPython deallocates on an attached thread; see `trampoline::run`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an object with a collector's head. Callbacks may collect garbage below, and must not find it then.
    unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    // SAFETY: an object that is deallocated is valid until it is freed, and nobody else can reach it.
    let fields = unsafe { &mut *object.cast::<BoundMethod>() };
    if !fields.weakrefs.is_null() || !fields.module.is_null() {
        // SAFETY: called once, for an object without references.
        unsafe { end_attributes(object) };
    }
    // SAFETY: as above; what was called has left the object in order.
    let fields = unsafe { &mut *object.cast::<BoundMethod>() };
    let receiver = replace(&mut fields.receiver, ptr::null_mut());
    // SAFETY: the object has no references, refers to nothing, and nobody can reach it.
    if !unsafe { SPARES.0.keep(py, object) } {
        // SAFETY: a type of CPython's.
        let free = unsafe { ffi::PyCFunction_Type.tp_dealloc }.expect("each type has tp_dealloc");
        // SAFETY: an object of the base's layout, with no references.
        unsafe { free(object) };
    }
    // SAFETY: the reference that the object owned, or null. Last: this may run Python code.
    unsafe { ffi::Py_XDECREF(receiver) };
}

/// Drops what only a program gives to a bound method: weak references, and `__module__`.
///
/// # Safety
/// The object is a bound method of ours that is being deallocated.
#[cold]
unsafe fn end_attributes(object: *mut ffi::PyObject) {
    // SAFETY: an object of this layout.
    let module = replace(unsafe { &mut (*object.cast::<BoundMethod>()).module }, ptr::null_mut());
    // SAFETY: the weak references are the object's, which has no other references left.
    unsafe { ffi::PyObject_ClearWeakRefs(object) };
    // SAFETY: the reference that the object owned, or null.
    unsafe { ffi::Py_XDECREF(module) };
}

unsafe extern "C" fn bound_no_args<T, F>(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count_and_flag: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
{
    // SAFETY: takes a bit off a number.
    if unsafe { ffi::PyVectorcall_NARGS(count_and_flag) } != 0 || !names.is_null() {
        return call_as_cpython(callable, args, count_and_flag, names);
    }
    // SAFETY: called by CPython for a bound method of ours.
    let object = unsafe { (*callable.cast::<BoundMethod>()).receiver };
    // As `no_args`, but compiled into this function.
    run(ptr::null_mut(), |py| {
        // SAFETY: `bind` has checked the class of the receiver, which the method keeps alive.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<F>()(receiver).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn bound_with_args<T, F>(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count_and_flag: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    // SAFETY: takes a bit off a number.
    let count = unsafe { ffi::PyVectorcall_NARGS(count_and_flag) };
    // SAFETY: called by CPython for a bound method of ours.
    let object = unsafe { (*callable.cast::<BoundMethod>()).receiver };
    // As `with_args`, but compiled into this function.
    run(ptr::null_mut(), |py| {
        // SAFETY: `bind` has checked the class of the receiver, which the method keeps alive.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        let args = unsafe { Args::from_vector(py, args, count, &names) };
        body::<F>()(receiver, args).map(Bound::into_ptr)
    })
}

/// As CPython's own bound method does, for a call that it refuses.
#[cold]
fn call_as_cpython(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count_and_flag: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    run(ptr::null_mut(), |py| {
        // SAFETY: a bound method, which is alive while it is called.
        let fields = unsafe { &*callable.cast::<BoundMethod>() };
        // SAFETY: the definition lives for ever, and the receiver is valid.
        let own = unsafe { ffi::PyCFunction_NewEx(fields.method.cast(), fields.receiver, ptr::null_mut()) };
        // SAFETY: a new reference, or null with an exception set.
        let own = unsafe { Bound::from_owned_ptr_or_err(py, own)? };
        // SAFETY: the arguments of a vector call, whose first place may still be lent.
        let result = unsafe { ffi::PyObject_Vectorcall(own.as_ptr(), args, count_and_flag, names) };
        // SAFETY: a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(py, result) }.map(Bound::into_ptr)
    })
}
