//! Algorithm: what an adaptive limiter asks how much may run.
//!
//! Any Python object with `update(now, latency, in_flight, dropped)` is one. Ours (`gradient`, `aimd`) are asked
//! without Python code, unless a program put another `update` in the place of theirs; they are also told where
//! the limiter begins, and between what it stays, so each is good for one limiter.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};
use tonnage_core::clock;
use tonnage_core::limits::outcome::{LimitRange, Outcome};

use super::aimd::Aimd;
use super::config;
use super::gradient::Gradient;
use crate::cpython::native_class::{has_instance_dict, is_exact};
use crate::cpython::{Args, Native, NativeClass, Object, Owned, Parameters, Visit, number};
use crate::names;

/// As `AdaptiveLimiter`'s defaults: for algorithms that no limiter has.
pub(super) const RANGE: LimitRange = LimitRange { min: 1, max: 1000 };
pub(super) const INITIAL: u32 = 20;

/// An algorithm of ours.
pub(super) trait OwnAlgorithm: NativeClass {
    /// Begins anew for a limiter; false if it has one already.
    #[must_use]
    fn begin(&self, py: Python<'_>, range: LimitRange, initial: u32) -> bool;
    fn update(&self, py: Python<'_>, outcome: Outcome) -> u32;
}

/// What an algorithm of ours is made with, and the limit that it finds for the one limiter that it is good for.
pub(super) struct Finding<S, L> {
    pub(super) settings: S,
    pub(super) limit: L,
    make: fn(S, LimitRange, u32) -> L,
    has_limiter: bool,
}

impl<S: Copy, L> Finding<S, L> {
    pub(super) fn new(settings: S, make: fn(S, LimitRange, u32) -> L) -> Self {
        Self { settings, limit: make(settings, RANGE, INITIAL), make, has_limiter: false }
    }

    /// As `OwnAlgorithm::begin`.
    #[must_use]
    pub(super) fn begin(&mut self, range: LimitRange, initial: u32) -> bool {
        let is_free = !std::mem::replace(&mut self.has_limiter, true);
        if is_free {
            self.limit = (self.make)(self.settings, range, initial);
        }
        is_free
    }
}

pub(super) struct Algorithm {
    object: Owned,
    kind: Kind,
}

enum Kind {
    Gradient(Owned<Gradient>),
    Aimd(Owned<Aimd>),
    /// It is asked by name.
    Other,
}

impl Algorithm {
    /// Begins with an algorithm, for a limiter that stays in a range.
    pub(super) fn begin(algorithm: &Object<'_>, range: LimitRange, initial: u32) -> PyResult<Self> {
        let kind = if let Ok(gradient) = algorithm.cast::<Gradient>() {
            begin_own(gradient, range, initial)?.map_or(Kind::Other, Kind::Gradient)
        } else if let Ok(aimd) = algorithm.cast::<Aimd>() {
            begin_own(aimd, range, initial)?.map_or(Kind::Other, Kind::Aimd)
        } else if algorithm
            .getattr_opt(names::update(algorithm.py()))?
            .is_some_and(|update| update.is_callable())
        {
            Kind::Other
        } else {
            let text = format!("algorithm must have a method update(), got {}", algorithm.repr()?);
            return Err(PyTypeError::new_err(text));
        };
        Ok(Self { object: algorithm.into(), kind })
    }

    /// The same algorithm once more, for a call that may run Python code.
    #[inline]
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        let kind = match &self.kind {
            Kind::Gradient(gradient) => Kind::Gradient(gradient.share(py)),
            Kind::Aimd(aimd) => Kind::Aimd(aimd.share(py)),
            Kind::Other => Kind::Other,
        };
        Self { object: self.object.share(py), kind }
    }

    pub(super) fn object<'a, 'py>(&'a self, py: Python<'py>) -> &'a Object<'py> {
        self.object.bind(py)
    }

    /// Tells how something ended; returns how much may run from here on.
    pub(super) fn update(&self, py: Python<'_>, outcome: Outcome) -> PyResult<u32> {
        match &self.kind {
            Kind::Gradient(gradient) => Ok(gradient.value().update(py, outcome)),
            Kind::Aimd(aimd) => Ok(aimd.value().update(py, outcome)),
            Kind::Other => self.ask(py, outcome),
        }
    }

    /// When the limit comes up again though nothing ends, if it is lowered.
    pub(super) fn lowered_until_ns(&self, py: Python<'_>) -> Option<u64> {
        match &self.kind {
            Kind::Gradient(gradient) => gradient.value().lowered_until_ns(py),
            Kind::Aimd(_) | Kind::Other => None,
        }
    }

    /// The limit at this time, if it has changed by itself.
    pub(super) fn expire(&self, py: Python<'_>, now_ns: u64) -> Option<u32> {
        match &self.kind {
            Kind::Gradient(gradient) => gradient.value().expire(py, now_ns),
            Kind::Aimd(_) | Kind::Other => None,
        }
    }

    fn ask(&self, py: Python<'_>, outcome: Outcome) -> PyResult<u32> {
        let (now, latency) = (clock::to_seconds(outcome.ended_ns), clock::to_seconds(outcome.latency_ns));
        let told = (now, latency, outcome.in_flight, outcome.dropped);
        let limit = self.object.bind(py).call_method1(names::update(py), told)?;
        if !limit.is_instance_of::<PyInt>() || limit.is_instance_of::<PyBool>() {
            let text = format!(
                "update() of {} must return an int, got {}",
                self.object.bind(py).repr()?,
                limit.repr()?
            );
            return Err(PyTypeError::new_err(text));
        }
        // The limiter keeps it in its range.
        let limit = limit.extract::<i64>().unwrap_or(if limit.gt(0)? { i64::MAX } else { i64::MIN });
        Ok(u32::try_from(limit.max(0)).unwrap_or(u32::MAX))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let kind = match &self.kind {
            Kind::Gradient(gradient) => visit.call(gradient),
            Kind::Aimd(aimd) => visit.call(aimd),
            Kind::Other => 0,
        };
        if kind == 0 { visit.call(&self.object) } else { kind }
    }
}

/// Begins with an algorithm of ours; nothing if a program changed its `update`.
fn begin_own<T: OwnAlgorithm>(
    algorithm: &Bound<'_, T>,
    range: LimitRange,
    initial: u32,
) -> PyResult<Option<Owned<T>>> {
    if !algorithm.value().begin(algorithm.py(), range, initial) {
        let text = format!(
            "{} has a limiter already; give each AdaptiveLimiter its own",
            algorithm.as_any().repr()?
        );
        return Err(PyValueError::new_err(text));
    }
    let is_plain = is_exact::<T>(algorithm.as_any()) && !has_instance_dict(algorithm);
    Ok(if is_plain { Some(algorithm.into()) } else { None })
}

/// The arguments of `update()`, of a class.
pub(super) fn outcome(function: &'static str, args: &Args<'_, '_>) -> PyResult<Outcome> {
    let names = ["now", "latency", "in_flight", "dropped"];
    let [now, latency, in_flight, dropped] =
        args.parse(&Parameters { function, names, positional: 4, required: 4 })?;
    let missing = || PyTypeError::new_err(format!("{function}() needs numbers, got None"));
    let in_flight = number::count("in_flight", &in_flight.ok_or_else(missing)?, 0)?;
    Ok(Outcome {
        ended_ns: config::duration_ns("now", now.as_ref())?.ok_or_else(missing)?,
        latency_ns: config::duration_ns("latency", latency.as_ref())?.ok_or_else(missing)?,
        in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
        dropped: dropped.ok_or_else(missing)?.is_truthy()?,
    })
}
