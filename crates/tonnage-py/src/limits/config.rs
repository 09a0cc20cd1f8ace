//! What limiters are made with, and what they are asked for: numbers that programs give.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tonnage_core::clock;

use crate::cpython::{Object, number};

/// An int of at least `least`, or nothing.
pub(super) fn count_or_none(name: &str, given: Option<&Object<'_>>, least: u64) -> PyResult<Option<u64>> {
    given.filter(|given| !given.is_none()).map(|given| number::count(name, given, least)).transpose()
}

/// A number of seconds, 0 or more, in nanoseconds; or nothing.
pub(super) fn duration_ns(name: &str, given: Option<&Object<'_>>) -> PyResult<Option<u64>> {
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
    let seconds = number::seconds(given)?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("{name} must be 0 or more seconds, got {}", given.str()?)));
    }
    Ok(Some(clock::from_seconds(seconds)))
}

/// A finite number above 0.
pub(super) fn positive(name: &str, given: &Object<'_>) -> PyResult<f64> {
    let value: f64 = number::seconds(given)?;
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(PyValueError::new_err(format!("{name} must be a finite number above 0, got {}", given.str()?)))
}

/// A finite number, 0 or more.
pub(super) fn not_negative(name: &str, given: &Object<'_>) -> PyResult<f64> {
    let value: f64 = number::seconds(given)?;
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(PyValueError::new_err(format!("{name} must be a finite number, 0 or more, got {}", given.str()?)))
}

/// A number from 0 to 1.
pub(super) fn share(name: &str, given: &Object<'_>) -> PyResult<f64> {
    let value: f64 = number::seconds(given)?;
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(PyValueError::new_err(format!("{name} must be from 0 to 1, got {}", given.str()?)))
}
