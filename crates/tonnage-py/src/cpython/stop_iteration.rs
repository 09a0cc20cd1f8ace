//! StopIteration as the carrier of an awaitable's result.
//!
//! The interpreter takes the value out and drops the exception at once, for each await that gives something.
//! From CPython 3.12 on it wants an instance, which costs more than the await itself; so ours is of a subclass
//! whose instance comes back to life for the next time when it has lost its last reference. Before, it takes the
//! bare value.

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::slots::Object;

#[cfg(not(Py_3_12))]
pub(super) use bare::raise;
#[cfg(Py_3_12)]
pub(super) use recycled::raise;

/// The exception that carries `value`. A tuple or an exception as the value is wrapped, because
/// CPython would take it for the arguments of StopIteration, or for the exception itself.
pub(crate) fn with_value(value: Object<'_>) -> PyErr {
    let py = value.py();
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
        return match py.get_type::<PyStopIteration>().call1((value,)) {
            Ok(stop) => PyErr::from_value(stop),
            Err(error) => error,
        };
    }
    PyStopIteration::new_err((value.unbind(),))
}

#[cfg(Py_3_12)]
mod recycled {
    use std::ffi::c_void;
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::super::free_list::_Py_NewReference;
    use super::{Object, ffi, with_value};

    /// The subclass, once it is made; types live for ever.
    static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
    /// An instance with its `args`, an empty tuple, and the reference to it; used under the interpreter's lock, and so
    /// without locked instructions, which cost as much as thirty others.
    static SPARE: AtomicPtr<ffi::PyStopIterationObject> = AtomicPtr::new(ptr::null_mut());

    /// Makes StopIteration with `value` the current exception. Its `args` are empty.
    #[inline]
    pub(crate) fn raise(value: Object<'_>) {
        let spare = take_spare();
        if spare.is_null() { raise_another(value) } else { raise_as(spare, value) }
    }

    #[inline]
    fn raise_as(stop: *mut ffi::PyStopIterationObject, value: Object<'_>) {
        // SAFETY: the instance is ours alone.
        let field = unsafe { &mut (*stop).value };
        let before = std::mem::replace(field, value.into_ptr());
        // SAFETY: the reference that the field owned, if somebody has put one there.
        unsafe { ffi::Py_XDECREF(before) };
        // SAFETY: gives the instance away.
        unsafe { ffi::PyErr_SetRaisedException(stop.cast()) };
    }

    #[cold]
    #[inline(never)]
    fn raise_another(value: Object<'_>) {
        let Some(class) = class() else {
            let py = value.py();
            return with_value(value).restore(py);
        };
        let stop = new_instance(class);
        if stop.is_null() {
            return; // MemoryError is set.
        }
        raise_as(stop, value);
    }

    /// The spare instance, unless there is none, or somebody has found it by way of the collector and keeps it.
    #[inline]
    fn take_spare() -> *mut ffi::PyStopIterationObject {
        let spare = SPARE.load(Ordering::Relaxed);
        // SAFETY: the static owns a reference.
        if spare.is_null() || unsafe { ffi::Py_REFCNT(spare.cast()) } != 1 {
            return ptr::null_mut();
        }
        SPARE.store(ptr::null_mut(), Ordering::Relaxed);
        spare
    }

    fn class() -> Option<*mut ffi::PyTypeObject> {
        let class = CLASS.load(Ordering::Relaxed);
        if class.is_null() { make_class() } else { Some(class) }
    }

    #[cold]
    fn make_class() -> Option<*mut ffi::PyTypeObject> {
        let mut slots = [
            ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: dealloc as *mut c_void },
            ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
        ];
        let mut spec = ffi::PyType_Spec {
            name: c"builtins.StopIteration".as_ptr(),
            basicsize: 0,
            itemsize: 0,
            flags: u32::try_from(ffi::Py_TPFLAGS_DEFAULT).expect("the flags of a type are 32 bits"),
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the exception types live for ever.
        let base = unsafe { ffi::PyExc_StopIteration };
        // SAFETY: the spec is complete, and copied; size, collector and the rest are the base's.
        let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, base) };
        if class.is_null() {
            // SAFETY: we are attached: this is called while an exception is to be raised.
            unsafe { ffi::PyErr_Clear() };
            return None;
        }
        CLASS.store(class.cast(), Ordering::Relaxed);
        Some(class.cast())
    }

    fn new_instance(class: *mut ffi::PyTypeObject) -> *mut ffi::PyStopIterationObject {
        // SAFETY: the type is complete and has no items. The memory is zero, and tracked.
        let instance = unsafe { ffi::PyType_GenericAlloc(class, 0) };
        if instance.is_null() {
            return ptr::null_mut();
        }
        let stop = instance.cast::<ffi::PyStopIterationObject>();
        // SAFETY: a reference to the empty tuple, which CPython makes once.
        let args = unsafe { ffi::PyTuple_New(0) };
        // SAFETY: the instance is ours alone, of this layout, and the field is null.
        unsafe { (*stop).args = args };
        stop
    }

    /// Lets the instance live on without its value, if there is no other spare one.
    unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
        let stop = object.cast::<ffi::PyStopIterationObject>();
        if SPARE.load(Ordering::Relaxed).is_null() && is_plain(stop) {
            // SAFETY: the instance has no references left, so its fields are ours.
            let value = std::mem::replace(unsafe { &mut (*stop).value }, ptr::null_mut());
            // SAFETY: it is complete but for its count, and nobody sees it.
            unsafe { _Py_NewReference(object) };
            // First, as Python code runs where the value goes, which may take it.
            SPARE.store(stop, Ordering::Relaxed);
            // SAFETY: the reference that the field owned.
            return unsafe { ffi::Py_XDECREF(value) };
        }
        // SAFETY: the caller's object, which has no references.
        unsafe { end(object) };
    }

    /// # Safety
    /// The object is an instance of the subclass that is being deallocated.
    #[cold]
    #[inline(never)]
    unsafe fn end(object: *mut ffi::PyObject) {
        // SAFETY: a valid object of a heap type, which owns a reference to its type.
        let class = unsafe { ffi::Py_TYPE(object) };
        // SAFETY: a type is valid as long as its objects.
        let base = unsafe { (*class).tp_base };
        // SAFETY: the base is StopIteration, which lives for ever.
        let base_dealloc = unsafe { (*base).tp_dealloc }.expect("each type has tp_dealloc");
        // SAFETY: an object of the base's layout, with no references.
        unsafe { base_dealloc(object) };
        // SAFETY: the reference that the object owned.
        unsafe { ffi::Py_DECREF(class.cast()) };
    }

    /// Did nobody catch it, and put more into it than its value?
    fn is_plain(stop: *mut ffi::PyStopIterationObject) -> bool {
        // SAFETY: the instance is valid, and of this layout.
        let stop = unsafe { &*stop };
        let fields = [stop.dict, stop.notes, stop.traceback, stop.context, stop.cause];
        let is_plain = fields.iter().all(|field| field.is_null()) && stop.suppress_context == '\0';
        is_plain && is_empty_tuple(stop.args)
    }

    /// A program may have set other `args`, and the collector takes them from what it clears.
    fn is_empty_tuple(args: *mut ffi::PyObject) -> bool {
        // SAFETY: a valid object, if it is one.
        let is_tuple = !args.is_null() && unsafe { ffi::PyTuple_CheckExact(args) } != 0;
        // SAFETY: a tuple, as was asked.
        is_tuple && unsafe { ffi::PyTuple_GET_SIZE(args) } == 0
    }
}

#[cfg(not(Py_3_12))]
mod bare {
    use std::ptr;

    use super::{Object, PyBaseException, PyTuple, ffi, with_value};
    use pyo3::prelude::*;

    /// Makes StopIteration with `value` the current exception.
    pub(crate) fn raise(value: Object<'_>) {
        if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
            let py = value.py();
            return with_value(value).restore(py);
        }
        // SAFETY: the exception types live for ever.
        let class = unsafe { ffi::PyExc_StopIteration };
        // SAFETY: as above; the reference is for the call below.
        unsafe { ffi::Py_INCREF(class) };
        // SAFETY: gives both references away. The instance is made only if somebody looks at it, from a value
        // that is neither a tuple nor an exception.
        unsafe { ffi::PyErr_Restore(class, value.into_ptr(), ptr::null_mut()) };
    }
}
