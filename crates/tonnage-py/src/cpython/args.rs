//! The arguments of a call to a method of a native class, matched with its parameters.

use std::ptr::NonNull;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::owned::another;
use super::slots::Object;

/// The parameters of a method: names, how many may be positional, how many must be given.
pub(crate) struct Parameters<const N: usize> {
    pub(crate) function: &'static str,
    pub(crate) names: [&'static str; N],
    pub(crate) positional: usize,
    pub(crate) required: usize,
}

#[derive(Clone, Copy)]
enum Keywords<'a, 'py> {
    /// Names in a tuple; the values follow the positional arguments.
    Names(&'a Bound<'py, PyTuple>),
    Dict(&'a Bound<'py, PyDict>),
    None,
}

pub(crate) struct Args<'a, 'py> {
    py: Python<'py>,
    values: &'a [Object<'py>],
    positional: usize,
    keywords: Keywords<'a, 'py>,
}

impl<'a, 'py> Args<'a, 'py> {
    /// # Safety
    /// The arguments are those of a vector call of CPython's, and live as long as `'a`.
    #[inline]
    pub(super) unsafe fn from_vector(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: &'a *mut ffi::PyObject,
    ) -> Self {
        let positional = count.cast_unsigned();
        let (keywords, all) = if names.is_null() {
            (Keywords::None, positional)
        } else {
            // SAFETY: the names of a vector call are a tuple, alive for the call.
            let names = unsafe { borrowed::<PyTuple>(py, names) };
            (Keywords::Names(names), positional + names.len())
        };
        // Without arguments the array may be null, which a slice's must not.
        let first = NonNull::new(args.cast_mut()).unwrap_or(NonNull::dangling());
        // SAFETY: a `Bound` is one pointer to an object (`repr(transparent)`), and the array holds
        // that many borrowed ones for the call; a shared slice of them drops none.
        let values = unsafe { std::slice::from_raw_parts(first.as_ptr().cast::<Object<'py>>(), all) };
        Self { py, values, positional, keywords }
    }

    /// # Safety
    /// `args` is a tuple, `kwargs` a dictionary or null, as handed to `__init__` and `__call__`.
    pub(super) unsafe fn from_tuple(
        py: Python<'py>,
        args: &'a *mut ffi::PyObject,
        kwargs: &'a *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: the caller's promise.
        let args = unsafe { borrowed::<PyTuple>(py, args) };
        let values = args.as_slice();
        let keywords = if kwargs.is_null() {
            Keywords::None
        } else {
            // SAFETY: the caller's promise.
            Keywords::Dict(unsafe { borrowed::<PyDict>(py, kwargs) })
        };
        Self { py, values, positional: values.len(), keywords }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    /// The positional arguments.
    #[inline]
    pub(crate) fn positional(&self) -> &'a [Object<'py>] {
        &self.values[..self.positional]
    }

    /// The one argument, if one was given by position and none by name.
    #[inline(always)]
    pub(crate) fn single(&self) -> Option<&'a Object<'py>> {
        match (self.values, &self.keywords) {
            ([single], Keywords::None) => Some(single),
            _ => None,
        }
    }

    /// As `single`, also if others were given by name: those of `names`, and each as None. It knows the names by
    /// their addresses, and so only as most calls have them.
    #[inline(always)]
    pub(crate) fn single_beside_none<const N: usize>(
        &self,
        names: [&Bound<'py, PyString>; N],
    ) -> Option<&'a Object<'py>> {
        let [single] = self.positional() else { return None };
        let is_known = |given: Borrowed<'_, 'py, PyAny>| names.iter().any(|name| given.is(name));
        match self.keywords {
            Keywords::None => Some(single),
            Keywords::Names(given) => {
                let are_none = self.named().iter().all(PyAnyMethods::is_none);
                if are_none && given.iter_borrowed().all(is_known) { Some(single) } else { None }
            }
            Keywords::Dict(_) => None,
        }
    }

    /// The one keyword argument that there may be beside positional ones.
    #[inline(always)]
    pub(crate) fn only_keyword(
        &self,
        function: &'static str,
        wanted: &'static str,
    ) -> PyResult<Option<Object<'py>>> {
        if matches!(self.keywords, Keywords::None) { Ok(None) } else { self.match_one(function, wanted) }
    }

    /// The keyword arguments that there may be beside positional ones; None is as none.
    pub(crate) fn only_keywords<const N: usize>(
        &self,
        function: &'static str,
        names: [&'static str; N],
    ) -> PyResult<[Option<Object<'py>>; N]> {
        let mut found = [const { None }; N];
        let parameters = Parameters { function, names, positional: 0, required: 0 };
        match_keywords(self.named(), self.keywords, &parameters, &mut found)?;
        Ok(found.map(|value: Option<Object<'py>>| value.filter(|value| !value.is_none())))
    }

    fn match_one(&self, function: &'static str, wanted: &'static str) -> PyResult<Option<Object<'py>>> {
        let mut found = [None];
        let parameters = Parameters { function, names: [wanted], positional: 0, required: 0 };
        match_keywords(self.named(), self.keywords, &parameters, &mut found)?;
        let [value] = found;
        Ok(value.filter(|value| !value.is_none()))
    }

    /// Matches the arguments with the parameters; a missing optional one is `None`.
    #[inline(always)]
    pub(crate) fn parse<const N: usize>(
        &self,
        parameters: &Parameters<N>,
    ) -> PyResult<[Option<Object<'py>>; N]> {
        // In parts, so that who looks at the arguments first keeps them in registers.
        matched(self.positional(), self.named(), self.keywords, parameters)
    }

    /// What was given by name, if the names are in a tuple.
    #[inline(always)]
    fn named(&self) -> &'a [Object<'py>] {
        &self.values[self.positional..]
    }

    /// Were any given by name?
    #[inline]
    pub(crate) fn has_keywords(&self) -> bool {
        !matches!(self.keywords, Keywords::None)
    }

    /// All keyword arguments, in a new dictionary.
    pub(crate) fn keywords(&self) -> PyResult<Bound<'py, PyDict>> {
        match &self.keywords {
            Keywords::None => Ok(PyDict::new(self.py)),
            Keywords::Dict(dict) => dict.copy(),
            Keywords::Names(names) => {
                let dict = PyDict::new(self.py);
                for (name, value) in names.iter().zip(self.named()) {
                    dict.set_item(name, value)?;
                }
                Ok(dict)
            }
        }
    }
}

#[inline(never)]
fn matched<'py, const N: usize>(
    positional: &[Object<'py>],
    named: &[Object<'py>],
    keywords: Keywords<'_, 'py>,
    parameters: &Parameters<N>,
) -> PyResult<[Option<Object<'py>>; N]> {
    let mut found = [const { None }; N];
    if positional.len() > parameters.positional {
        return Err(too_many(positional.len(), parameters));
    }
    for (place, value) in found.iter_mut().zip(positional) {
        *place = Some(another(value));
    }
    match_keywords(named, keywords, parameters, &mut found)?;
    for (index, place) in found.iter().enumerate().take(parameters.required) {
        if place.is_none() {
            let Parameters { function, names, .. } = parameters;
            return Err(PyTypeError::new_err(format!(
                "{function}() missing required argument '{}' (pos {})",
                names[index],
                index + 1
            )));
        }
    }
    Ok(found)
}

fn match_keywords<'py, const N: usize>(
    named: &[Object<'py>],
    keywords: Keywords<'_, 'py>,
    parameters: &Parameters<N>,
    found: &mut [Option<Object<'py>>; N],
) -> PyResult<()> {
    match keywords {
        Keywords::None => {}
        Keywords::Names(names) => {
            for (name, value) in names.iter().zip(named) {
                match_keyword(parameters, found, &name, another(value))?;
            }
        }
        Keywords::Dict(dict) => {
            for (name, value) in dict.iter() {
                match_keyword(parameters, found, &name, value)?;
            }
        }
    }
    Ok(())
}

fn match_keyword<'py, const N: usize>(
    parameters: &Parameters<N>,
    found: &mut [Option<Object<'py>>; N],
    name: &Object<'py>,
    value: Object<'py>,
) -> PyResult<()> {
    let name = name.cast::<PyString>()?.to_str()?;
    let function = parameters.function;
    let Some(index) = parameters.names.iter().position(|known| *known == name) else {
        return Err(PyTypeError::new_err(format!(
            "{function}() got an unexpected keyword argument '{name}'"
        )));
    };
    if found[index].is_some() {
        return Err(PyTypeError::new_err(format!(
            "argument for {function}() given by name ('{name}') and position ({})",
            index + 1
        )));
    }
    found[index] = Some(value);
    Ok(())
}

#[cold]
fn too_many<const N: usize>(given: usize, parameters: &Parameters<N>) -> PyErr {
    let Parameters { function, positional, required, .. } = parameters;
    let bound = if positional == required { "exactly" } else { "at most" };
    let plural = if *positional == 1 { "" } else { "s" };
    if *positional == 0 {
        return PyTypeError::new_err(format!("{function}() takes no positional arguments"));
    }
    PyTypeError::new_err(format!(
        "{function}() takes {bound} {positional} positional argument{plural} ({given} given)"
    ))
}

/// The object behind a place that holds a borrowed pointer.
///
/// # Safety
/// The place holds a valid object of class `T` for as long as it is borrowed.
#[inline]
pub(super) unsafe fn borrowed<'a, 'py, T>(
    py: Python<'py>,
    place: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, T> {
    // SAFETY: the caller's promise.
    let object = unsafe { Bound::ref_from_ptr(py, place) };
    // SAFETY: the caller's promise.
    unsafe { object.cast_unchecked() }
}
