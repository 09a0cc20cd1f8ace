//! Refusal: what is said to those whom a limiter refuses, and how many they were.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tonnage_core::limits::capacity::{Capacity, UNLIMITED};
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::{Admission, Refused, Request, Supply};

use super::adaptive;
use super::limiter::Limiter;
use super::serve::Payload;
use crate::cpython::Native;
use crate::errors::{self, Refusal};
use tonnage_core::clock::to_seconds;

/// Why somebody is refused.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    /// `acquire_nowait` would have to wait.
    MustWait {
        wait_ns: Option<u64>,
    },
    /// It may not join the line.
    Refused(Refused, Option<u64>),
    Shed {
        waited_ns: u64,
    },
    Late {
        waited_ns: u64,
    },
    Closed,
}

/// How many were refused, for which reason.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts([u64; REASONS.len()]);

/// The reasons that a limiter has.
const REASONS: [Refusal; 4] = [Refusal::Full, Refusal::Delay, Refusal::Deadline, Refusal::Closed];

impl Counts {
    fn add(&mut self, refusal: Refusal) {
        if let Some(place) = REASONS.iter().position(|reason| *reason == refusal) {
            self.0[place] += 1;
        }
    }

    /// Each reason with its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().map(|reason| reason.name()).zip(self.0)
    }
}

impl Cause {
    fn refusal(self) -> Refusal {
        match self {
            Self::MustWait { .. } | Self::Refused(Refused::Full, _) => Refusal::Full,
            Self::Refused(Refused::Delay { .. }, _) | Self::Shed { .. } | Self::Late { .. } => Refusal::Delay,
            Self::Refused(Refused::Deadline { .. }, _) => Refusal::Deadline,
            Self::Refused(Refused::Closed, _) | Self::Closed => Refusal::Closed,
        }
    }
}

/// The `Overloaded` to raise, which is counted.
#[cold]
pub(super) fn of_cause(this: &Bound<'_, Limiter>, cause: Cause, request: &Request) -> PyResult<PyErr> {
    let py = this.py();
    let refusal = cause.refusal();
    this.value().state.with(py, |state| state.refused.add(refusal));
    let name = this.value().name(py);
    let (text, retry_after_s) = Limiter::admission(this, |admission| {
        (text(admission, cause, request), retry_after(admission, cause))
    })?;
    Ok(errors::overloaded(py, &format!("limiter '{name}' {text}"), refusal, retry_after_s, Some(&name)))
}

/// The seconds after which the same call may succeed, if nobody else comes.
fn retry_after(admission: &Admission<Payload>, cause: Cause) -> Option<f64> {
    let max_wait_ns = admission.bounds().max_wait_ns.unwrap_or(0);
    match cause {
        Cause::MustWait { wait_ns } | Cause::Refused(Refused::Full | Refused::Deadline { .. }, wait_ns) => {
            wait_ns.map(to_seconds)
        }
        Cause::Refused(Refused::Delay { wait_ns }, Some(_)) => {
            Some(to_seconds(wait_ns.saturating_sub(max_wait_ns)))
        }
        _ => None,
    }
}

fn text(admission: &Admission<Payload>, cause: Cause, request: &Request) -> String {
    let bounds = admission.bounds();
    let usage = usage(admission);
    let waiting = admission.line().len();
    let wanted = if request.tokens == 1 { String::new() } else { format!(", {} wanted", request.tokens) };
    let max_wait = to_seconds(bounds.max_wait_ns.unwrap_or(0));
    match cause {
        Cause::MustWait { wait_ns } => {
            let when = again(wait_ns.map(to_seconds));
            format!("is full: {usage}{wanted}, {waiting} waiting; {when}, or await acquire()")
        }
        Cause::Refused(Refused::Full, wait_ns) => {
            let (most, when) = (bounds.max_waiting.unwrap_or(0), again(wait_ns.map(to_seconds)));
            format!("is full: {usage}{wanted}, {waiting} of {most} waiting; {when} or raise max_waiting")
        }
        Cause::Refused(Refused::Delay { .. }, None) => {
            format!(
                "is full: {usage}{wanted}, and max_wait is {max_wait} s; try again later or raise max_wait"
            )
        }
        Cause::Refused(Refused::Delay { wait_ns }, Some(_)) => format!(
            "would keep the request waiting for {:.3} s, more than its max_wait of {max_wait} s; {} or raise \
             max_wait",
            to_seconds(wait_ns),
            again(retry_after(admission, cause)),
        ),
        Cause::Refused(Refused::Deadline { .. }, None) => {
            format!("is full: {usage}{wanted}, and the deadline of the task has passed; give it more time")
        }
        Cause::Refused(Refused::Deadline { wait_ns }, Some(_)) => format!(
            "would keep the request waiting for {:.3} s, beyond the deadline of its task; give the task more \
             time, or ask for less",
            to_seconds(wait_ns),
        ),
        Cause::Late { waited_ns } => format!(
            "has kept the request waiting for {:.3} s, and max_wait is {max_wait} s: {usage}{wanted}, {waiting} \
             waiting; try again later or raise max_wait",
            to_seconds(waited_ns),
        ),
        Cause::Shed { waited_ns } => format!(
            "is overloaded: the request has waited for {:.3} s, more than twice the target_delay of {} s; try \
             again later or send less",
            to_seconds(waited_ns),
            to_seconds(bounds.target_delay_ns.unwrap_or(0)),
        ),
        Cause::Refused(Refused::Closed, _) | Cause::Closed => "is closed; nothing can be acquired".to_owned(),
    }
}

fn again(retry_after_s: Option<f64>) -> String {
    retry_after_s.map_or_else(|| "try again later".to_owned(), |after| format!("try again in {after:.3} s"))
}

fn usage(admission: &Admission<Payload>) -> String {
    match admission.supply() {
        Supply::Capacity(capacity) => lent(capacity),
        Supply::Rate(rate) => format!("its burst of {} is used up", rate.burst()),
    }
}

/// What a capacity has lent, in words.
pub(super) fn lent(capacity: &Capacity) -> String {
    let (in_use, total) = (capacity.in_use(), capacity.total());
    let total = if total == UNLIMITED { "inf".to_owned() } else { total.to_string() };
    format!("{in_use} of {total} tokens in use")
}

/// Refuses who wants more than there can ever be.
#[inline]
pub(super) fn check_most(this: &Bound<'_, Limiter>, request: &Request) -> PyResult<()> {
    let most = match adaptive::most(this) {
        None => Limiter::admission(this, |admission| admission.most(request))?,
        most => most,
    };
    match most {
        Some(most) if request.tokens > most => Err(too_many(this, request, most)?),
        _ => Ok(()),
    }
}

#[cold]
fn too_many(this: &Bound<'_, Limiter>, request: &Request, most: u64) -> PyResult<PyErr> {
    let what = Limiter::admission(this, |admission| match admission.supply() {
        Supply::Rate(_) => "the burst",
        Supply::Capacity(capacity) if request.key != NO_KEY && most < capacity.total() => {
            "what one key may have"
        }
        Supply::Capacity(_) => "the total",
    })?;
    let (name, tokens) = (this.value().name(this.py()), request.tokens);
    let text = format!("tokens must be {most} or less, {what} of limiter '{name}', got {tokens}");
    Ok(PyValueError::new_err(text))
}
