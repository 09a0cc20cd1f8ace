//! Borrowing for somebody else, as with trio's limiter: `acquire_on_behalf_of()` and `release_on_behalf_of()`.
//!
//! A borrower is any object with a hash, and holds one token at a time. Who waits counts as a borrower already.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::limits::numbers::NumberMap;

use super::capacity::CapacityLimiter;
use super::holders::Loan;
use super::limiter::Limiter;
use super::outcome::Outcome;
use super::permit;
use crate::cpython::native_class::upcast;
use crate::cpython::{Native, Object, Owned, Visit};
use crate::names;

#[derive(Default)]
pub(super) struct Borrowers {
    /// From the borrower to the number of its claim.
    claims: Option<Owned<PyDict>>,
    /// What was lent on a claim; nothing while it waits.
    loans: NumberMap<Option<Loan>>,
    last: u64,
}

impl Borrowers {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.claims.as_ref().map_or(0, |claims| visit.call(claims))
    }
}

/// Somebody wants a token, for as long as this number is his.
#[derive(Clone, Copy)]
pub(super) struct Claim(u64);

fn claims<'py>(limiter: &Bound<'py, Limiter>) -> Bound<'py, PyDict> {
    let py = limiter.py();
    let known =
        limiter.value().state.with(py, |state| state.borrowers.claims.as_ref().map(|it| it.get_bound(py)));
    known.unwrap_or_else(|| {
        let fresh = PyDict::new(py);
        let kept = Owned::from(&fresh);
        drop(limiter.value().state.with(py, |state| state.borrowers.claims.replace(kept)));
        fresh
    })
}

/// Lets the borrower have a token or wait for one, unless he does.
pub(super) fn claim(limiter: &Bound<'_, Limiter>, borrower: &Object<'_>) -> PyResult<Claim> {
    let py = limiter.py();
    let claims = claims(limiter);
    let next = limiter.value().state.with(py, |state| {
        state.borrowers.last += 1;
        state.borrowers.last
    });
    let number: u64 = claims.call_method1(names::setdefault(py), (borrower, next))?.extract()?;
    let is_new = number == next;
    let holds = limiter.value().state.with(py, |state| {
        if is_new {
            state.borrowers.loans.insert(next, None);
        }
        state.holders.newest(Some(borrower)).is_some()
    });
    if is_new && !holds {
        return Ok(Claim(next));
    }
    if is_new {
        disclaim(limiter, borrower);
    }
    // trio's text.
    Err(PyRuntimeError::new_err("this borrower is already holding one of this CapacityLimiter's tokens"))
}

/// The claim is fulfilled.
pub(super) fn fulfil(limiter: &Bound<'_, Limiter>, claim: Claim, loan: Loan) {
    limiter.value().state.with(limiter.py(), |state| {
        if let Some(lent) = state.borrowers.loans.get_mut(&claim.0) {
            *lent = Some(loan);
        }
    });
}

/// The borrower has nothing, and waits for nothing.
pub(super) fn disclaim(limiter: &Bound<'_, Limiter>, borrower: &Object<'_>) {
    let py = limiter.py();
    let removed = claims(limiter).call_method1(names::pop(py), (borrower, 0));
    match removed.and_then(|number| number.extract::<u64>()) {
        Ok(number) => limiter.value().state.with(py, |state| {
            state.borrowers.loans.remove(&number);
        }),
        Err(error) => error.write_unraisable(py, Some(borrower)),
    }
}

/// `release_on_behalf_of(borrower)`.
pub(super) fn release_on_behalf_of<'py>(
    this: &Bound<'py, CapacityLimiter>,
    borrower: &Object<'py>,
) -> PyResult<Object<'py>> {
    let py = this.py();
    let limiter = upcast(this);
    let number = match claims(limiter).get_item(borrower)? {
        Some(number) => Some(number.extract::<u64>()?),
        None => None,
    };
    let loan = limiter.value().state.with(py, |state| match number {
        Some(number) => state.borrowers.loans.get(&number).copied().flatten(),
        // A task that has acquired it for itself.
        None => state.holders.newest(Some(borrower)),
    });
    match loan {
        Some(loan) if permit::end(limiter, loan, Outcome::Ok)? => Ok(py.None().into_bound(py)),
        _ => Err(permit::holds_nothing()),
    }
}

/// `release()`: what the current task has acquired last.
pub(super) fn release<'py>(this: &Bound<'py, CapacityLimiter>) -> PyResult<Object<'py>> {
    let py = this.py();
    let limiter = upcast(this);
    let holder = permit::holder(py)?;
    let loan = limiter.value().state.with(py, |state| state.holders.newest(holder.as_ref()));
    match loan {
        Some(loan) if permit::end(limiter, loan, Outcome::Ok)? => Ok(py.None().into_bound(py)),
        _ => Err(permit::holds_nothing()),
    }
}
