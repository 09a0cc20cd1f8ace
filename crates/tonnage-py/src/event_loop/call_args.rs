//! CallArgs: the arguments of a scheduled callback.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cpython::{Object, Owned, Visit, call};

/// The arguments of a callback: most have none or one, which need no tuple.
pub(crate) enum CallArgs {
    None,
    One(Owned),
    Many(Owned<PyTuple>),
}

impl CallArgs {
    #[inline(always)]
    pub(crate) fn new<'py>(py: Python<'py>, args: &[Object<'py>]) -> PyResult<Self> {
        Ok(match args {
            [] => Self::None,
            [one] => Self::One(one.into()),
            many => Self::Many(PyTuple::new(py, many)?.into()),
        })
    }

    #[inline]
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(one) => Self::One(one.share(py)),
            Self::Many(many) => Self::Many(many.share(py)),
        }
    }

    pub(super) fn as_tuple<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self {
            Self::None => Ok(PyTuple::empty(py)),
            Self::One(one) => PyTuple::new(py, [one.bind(py)]),
            Self::Many(many) => Ok(many.get_bound(py)),
        }
    }

    pub(super) fn call<'py>(&self, callback: &Object<'py>) -> PyResult<Object<'py>> {
        let py = callback.py();
        match self {
            Self::None => call::no_args(callback),
            Self::One(one) => call::one_arg(callback, one.bind(py)),
            Self::Many(many) => callback.call1(many.bind(py)),
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::None => 0,
            Self::One(one) => visit.call(one),
            Self::Many(many) => visit.call(many),
        }
    }
}
