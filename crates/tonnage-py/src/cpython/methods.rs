//! Methods as plain Rust functions, of native classes and of classes of PyO3.

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::type_object::PyTypeInfo;

use super::args::{Args, Parameters, borrowed};
#[cfg(not(Py_3_14))]
use super::block_methods::BlockMethod;
use super::native_class::NativeClass;
use super::slots::Object;
use super::trampoline::{body, receiver, run};

/// Methods, of a native class or of one of PyO3's.
pub(crate) struct Methods<T> {
    table: Vec<ffi::PyMethodDef>,
    #[cfg(not(Py_3_14))]
    block_methods: Vec<BlockMethod>,
    class: PhantomData<T>,
}

impl<T: 'static> Methods<T> {
    pub(super) fn new() -> Self {
        Self {
            table: vec![],
            #[cfg(not(Py_3_14))]
            block_methods: vec![],
            class: PhantomData,
        }
    }

    pub(crate) fn no_args<F>(&mut self, name: &'static CStr, doc: &'static CStr, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let call = ffi::PyMethodDefPointer { PyCFunction: no_args::<T, F> };
        self.method(name, doc, call, ffi::METH_NOARGS);
    }

    pub(crate) fn one_arg<F>(&mut self, name: &'static CStr, doc: &'static CStr, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let call = ffi::PyMethodDefPointer { PyCFunction: one_arg::<T, F> };
        self.method(name, doc, call, ffi::METH_O);
    }

    pub(crate) fn with_args<F>(&mut self, name: &'static CStr, doc: &'static CStr, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let call = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: with_args::<T, F> };
        self.method(name, doc, call, ffi::METH_FASTCALL | ffi::METH_KEYWORDS);
    }

    /// A method with one parameter, which has no default. Most give it by position: these cost less.
    pub(crate) fn one_parameter<P, F>(
        &mut self,
        name: &'static CStr,
        doc: &'static CStr,
        _parameters: P,
        _body: F,
    ) where
        P: Fn() -> Parameters<1> + Copy + 'static,
        F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let call = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: one_parameter::<T, P, F> };
        self.method(name, doc, call, ffi::METH_FASTCALL | ffi::METH_KEYWORDS);
    }

    /// `__aenter__` and `__aexit__`, each with its docstring.
    pub(crate) fn block<E, X>(
        &mut self,
        (enter_doc, _enter): (&'static CStr, E),
        (exit_doc, _exit): (&'static CStr, X),
    ) where
        E: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
        X: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        #[cfg(not(Py_3_14))]
        self.block_methods.extend([
            BlockMethod::no_args::<T, E>(c"__aenter__", enter_doc),
            BlockMethod::with_args::<T, X>(c"__aexit__", exit_doc),
        ]);
        #[cfg(Py_3_14)]
        {
            self.no_args(c"__aenter__", enter_doc, _enter);
            self.with_args(c"__aexit__", exit_doc, _exit);
        }
    }

    /// Takes out what is put into the class once it is made.
    #[cfg(not(Py_3_14))]
    pub(super) fn take_block_methods(&mut self) -> Vec<BlockMethod> {
        std::mem::take(&mut self.block_methods)
    }

    /// A method that only code sees which asks for it by name; the interpreter uses the slot.
    pub(super) fn by_name_only<F>(&mut self, name: &'static CStr, doc: &'static CStr, _body: F)
    where
        F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
    {
        let call = ffi::PyMethodDefPointer { PyCFunction: no_args::<T, F> };
        self.method(name, doc, call, ffi::METH_NOARGS | ffi::METH_COEXIST);
    }

    /// The table that a type keeps a pointer to: types live for ever.
    pub(super) fn leak(mut self) -> &'static mut [ffi::PyMethodDef] {
        self.table.push(ffi::PyMethodDef::zeroed());
        Box::leak(self.table.into_boxed_slice())
    }

    pub(super) fn method(
        &mut self,
        name: &'static CStr,
        doc: &'static CStr,
        call: ffi::PyMethodDefPointer,
        flags: c_int,
    ) {
        self.table.push(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: call,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        });
    }
}

/// Adds methods to a class of PyO3, whose own methods cost more for each call.
pub(crate) fn add_methods<T: PyTypeInfo + 'static>(
    py: Python<'_>,
    define: impl FnOnce(&mut Methods<T>),
) -> PyResult<()> {
    let mut methods = Methods::<T>::new();
    define(&mut methods);
    let class = py.get_type::<T>();
    let table = methods.leak();
    for method in table.iter_mut().take_while(|method| !method.ml_name.is_null()) {
        // SAFETY: the definition lives for ever, and its function takes receivers of this class only,
        // which the descriptor checks.
        let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), method) };
        // SAFETY: a new reference, or null with an exception set.
        let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor)? };
        // SAFETY: the name is a string that lives for ever.
        let name = unsafe { CStr::from_ptr(method.ml_name) };
        let name = name.to_str().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        class.setattr(name, descriptor)?;
    }
    Ok(())
}

/// Adds a function to the module.
pub(crate) fn add_function<F>(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    doc: &'static CStr,
    _body: F,
) -> PyResult<()>
where
    F: for<'a, 'py> Fn(Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    add(module, name, doc, function::<F>)
}

/// Adds a function with one parameter, as `Methods::one_parameter`.
pub(crate) fn add_function_of_one<P, F>(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    doc: &'static CStr,
    _parameters: P,
    _body: F,
) -> PyResult<()>
where
    P: Fn() -> Parameters<1> + Copy + 'static,
    F: for<'a, 'py> Fn(&'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    add(module, name, doc, function_of_one::<P, F>)
}

fn add(
    module: &Bound<'_, PyModule>,
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
) -> PyResult<()> {
    let call = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
    let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    // The function keeps a pointer to it: functions of the module live for ever.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: call,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    let home = module.name()?;
    // SAFETY: the definition lives for ever, and the two objects are valid for the call, which takes references.
    let made = unsafe { ffi::PyCFunction_NewEx(definition, ptr::null_mut(), home.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let made = unsafe { Bound::from_owned_ptr_or_err(module.py(), made)? };
    let name = name.to_str().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    module.add(name, made)
}

unsafe extern "C" fn function<F>(
    _: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    F: for<'a, 'py> Fn(Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        let args = unsafe { Args::from_vector(py, args, count, &names) };
        body::<F>()(args).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn function_of_one<P, F>(
    _: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    P: Fn() -> Parameters<1> + Copy + 'static,
    F: for<'a, 'py> Fn(&'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        unsafe { with_only::<P, _>(py, (args, count, names), |arg| body::<F>()(arg)) }
    })
}

unsafe extern "C" fn one_parameter<T, P, F>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    P: Fn() -> Parameters<1> + Copy + 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a method of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        unsafe { with_only::<P, _>(py, (args, count, names), |arg| body::<F>()(receiver, arg)) }
    })
}

/// Calls `work` with the one argument.
///
/// # Safety
/// The arguments are those of a vector call, borrowed for this one: a vector, their number, and names.
#[inline(always)]
unsafe fn with_only<'py, P, W>(
    py: Python<'py>,
    (args, count, names): (*const *mut ffi::PyObject, ffi::Py_ssize_t, *mut ffi::PyObject),
    work: W,
) -> PyResult<*mut ffi::PyObject>
where
    P: Fn() -> Parameters<1> + Copy + 'static,
    W: FnOnce(&Object<'py>) -> PyResult<Object<'py>>,
{
    if count == 1 && names.is_null() {
        // SAFETY: the caller's promise.
        let first = unsafe { &*args };
        // SAFETY: as above.
        return work(unsafe { borrowed(py, first) }).map(Bound::into_ptr);
    }
    // SAFETY: as above.
    let args = unsafe { Args::from_vector(py, args, count, &names) };
    work(&only::<P>(&args)?).map(Bound::into_ptr)
}

/// The one argument, which is given by name, or else is none or too many.
#[cold]
#[inline(never)]
fn only<'py, P>(args: &Args<'_, 'py>) -> PyResult<Object<'py>>
where
    P: Fn() -> Parameters<1> + Copy + 'static,
{
    let [only] = args.parse(&body::<P>()())?;
    Ok(only.expect("it was asked for as required"))
}

pub(super) unsafe extern "C" fn no_args<T, F>(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a method of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        body::<F>()(receiver).map(Bound::into_ptr)
    })
}

unsafe extern "C" fn one_arg<T, F>(object: *mut ffi::PyObject, arg: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, &'a Object<'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a method of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: the argument is borrowed for the call.
        let arg = unsafe { Bound::ref_from_ptr(py, &arg) };
        body::<F>()(receiver, arg).map(Bound::into_ptr)
    })
}

pub(super) unsafe extern "C" fn with_args<T, F>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython as a method of `T`.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        let args = unsafe { Args::from_vector(py, args, count, &names) };
        body::<F>()(receiver, args).map(Bound::into_ptr)
    })
}

/// A call of an object of a native class.
pub(super) unsafe extern "C" fn vectorcall<T, F>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count_and_flag: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    T: 'static,
    F: for<'a, 'py> Fn(&'a Bound<'py, T>, Args<'a, 'py>) -> PyResult<Object<'py>> + Copy + 'static,
{
    run(ptr::null_mut(), |py| {
        // SAFETY: called by CPython for an object of `T`, in which it found this function.
        let receiver = unsafe { receiver::<T>(py, &object) };
        // SAFETY: takes a bit off a number.
        let count = unsafe { ffi::PyVectorcall_NARGS(count_and_flag) };
        // SAFETY: the arguments are those of a vector call, borrowed for the call.
        let args = unsafe { Args::from_vector(py, args, count, &names) };
        body::<F>()(receiver, args).map(Bound::into_ptr)
    })
}

/// The object whose method `body` the callable is, if it is what `object.method` gives.
#[inline]
pub(crate) fn receiver_of<'a, 'py, T, F>(callable: &'a Object<'py>, _body: F) -> Option<&'a Bound<'py, T>>
where
    T: NativeClass,
    F: for<'b, 'q> Fn(&'b Bound<'q, T>, &'b Object<'q>) -> PyResult<Object<'q>> + Copy + 'static,
{
    // SAFETY: `callable` is a valid object.
    if unsafe { ffi::PyCFunction_CheckExact(callable.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: it is a built-in function, and so has this layout.
    let function = unsafe { &*callable.as_ptr().cast::<ffi::PyCFunctionObject>() };
    // SAFETY: a method's definition lives as long as its functions.
    let definition = unsafe { &*function.m_ml };
    // SAFETY: only compared, and every variant is one pointer.
    let called = unsafe { definition.ml_meth.PyCFunction };
    if !ptr::fn_addr_eq(called, one_arg::<T, F> as ffi::PyCFunction) {
        return None;
    }
    // SAFETY: the receiver of a method of `T`, which CPython checked, and which the function keeps alive.
    Some(unsafe { borrowed(callable.py(), &function.m_self) })
}
