//! Limit: what `limit=` was given, for everything that takes it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PySequence, PyString};

use crate::cpython::{Object, Owned, number};
use crate::limits::{Door, Limiter};

/// How many may run at once.
pub(crate) enum Limit {
    /// As many as this, 1 or more.
    Count(usize),
    /// As many as get a permit of each of the limiters, in their order.
    Door(Owned<Door>),
}

/// The value of `limit=`; None and nothing are no limit.
pub(crate) fn limit(given: Option<&Object<'_>>) -> PyResult<Option<Limit>> {
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
    if given.is_instance_of::<PyInt>() && !given.is_instance_of::<PyBool>() {
        return count("limit", given, 1).map(|count| Some(Limit::Count(count)));
    }
    let limiters = limiters(given)?;
    Door::create(given.py(), limiters).map(|door| Some(Limit::Door(door)))
}

/// One limiter, or a sequence of them.
fn limiters(given: &Object<'_>) -> PyResult<Box<[Owned<Limiter>]>> {
    if let Ok(limiter) = given.cast::<Limiter>() {
        return Ok(Box::new([limiter.into()]));
    }
    if given.is_instance_of::<PyString>() || given.cast::<PySequence>().is_err() {
        let text =
            format!("limit must be an int, a Limiter or a sequence of Limiters, got {}", given.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    let mut limiters: Vec<Owned<Limiter>> = vec![];
    for each in given.try_iter()? {
        let each = each?;
        let Ok(limiter) = each.cast::<Limiter>() else {
            let text = format!("limit must be a sequence of Limiters, got one that has {}", each.repr()?);
            return Err(PyTypeError::new_err(text));
        };
        if limiters.iter().any(|known| known.is(limiter)) {
            // It would wait for itself.
            let text = format!("limit must name each limiter once, got {} twice", each.repr()?);
            return Err(PyValueError::new_err(text));
        }
        limiters.push(limiter.into());
    }
    if limiters.is_empty() {
        return Err(PyValueError::new_err("limit must have a limiter, got an empty sequence"));
    }
    Ok(limiters.into_boxed_slice())
}

/// The value of `max_pending=`.
pub(crate) fn max_pending(given: &Object<'_>) -> PyResult<usize> {
    count("max_pending", given, 0)
}

/// A number of things that is `least` or more.
pub(super) fn count(name: &str, given: &Object<'_>, least: u64) -> PyResult<usize> {
    Ok(usize::try_from(number::count(name, given, least)?).unwrap_or(usize::MAX))
}
