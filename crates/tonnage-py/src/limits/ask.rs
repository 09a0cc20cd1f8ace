//! Asking a limiter: for tokens at once, or for a place in its line. What `acquire()` does, and owners in Rust that
//! take their slots from a limiter.
//!
//! Who asks under a key holds a reference to the key's number until a permit has it, or it has nothing to wait for.

use pyo3::prelude::*;
use tonnage_core::limits::{Request, Ticket};

use super::holders::Kind;
use super::limiter::{self, Limiter};
use super::refusal::{self, Cause, check_most};
use super::serve::{self, Payload};
use super::{adaptive, alarm, deadlock, permit};
use crate::cpython::Object;
use crate::event_loop::EventLoop;

/// A permit, if the tokens are there and nobody is before; else nothing, and the caller may wait (`acquire_later`).
pub(crate) fn try_acquire<'py>(
    this: &Bound<'py, Limiter>,
    request: Request,
    kind: Kind,
) -> PyResult<Option<Object<'py>>> {
    check_most(this, &request)?;
    if try_take(this, &request)? { permit::lend(this, request, kind).map(Some) } else { Ok(None) }
}

/// Lets the payload stand in line for tokens that are not there, or raises. It is handed True when it has them, or
/// the error (`Payload::hand`); until then it may give up (`give_up`). It must be through by the deadline.
pub(crate) fn acquire_later<'py>(
    this: &Bound<'py, Limiter>,
    request: Request,
    wait: Wait<'_, 'py>,
    payload: impl FnOnce(&Object<'_>) -> PyResult<Payload>,
) -> PyResult<Asked> {
    may_join(this, &request, wait.deadline_ns)?;
    let event_loop = limiter::bind_loop(this, wait.event_loop)?;
    let payload = payload(&event_loop)?;
    if EventLoop::of(&event_loop).is_none() {
        // A loop of another kind has run Python code, which may have changed all.
        if try_take(this, &request)? {
            drop(payload);
            return Ok(Asked::Taken);
        }
        may_join(this, &request, wait.deadline_ns)?;
    }
    let now_ns = limiter::now_ns(this.py())?;
    let ticket = Limiter::admission(this, |admission| admission.join(now_ns, request, payload))?;
    deadlock::look_again(this);
    match alarm::set(this, now_ns) {
        Ok(()) => Ok(Asked::Waits(ticket)),
        Err(error) => {
            give_up(this, ticket)?;
            Err(error)
        }
    }
}

/// How somebody waits.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a, 'py> {
    /// On this loop; none: on the one that runs.
    pub(super) event_loop: Option<&'a Object<'py>>,
    pub(super) deadline_ns: Option<u64>,
}

/// What has become of one who would wait.
pub(crate) enum Asked {
    Waits(Ticket),
    /// The tokens were given back meanwhile, and are his.
    Taken,
}

/// Ends a wait; false if it has ended already, so that he was handed something.
pub(crate) fn give_up(this: &Bound<'_, Limiter>, ticket: Ticket) -> PyResult<bool> {
    let left = Limiter::admission(this, |admission| admission.leave(ticket))?;
    let waited_still = left.is_some();
    drop(left);
    if waited_still {
        serve::serve(this)?;
    }
    Ok(waited_still)
}

/// Takes back what was handed to him and is not wanted.
pub(crate) fn untake(this: &Bound<'_, Limiter>, request: &Request) -> PyResult<()> {
    Limiter::admission(this, |admission| admission.untake(request))?;
    serve::serve(this)
}

/// Takes the tokens, if they are there and nobody is before. The request is not for more than there can be.
#[inline]
pub(super) fn try_take(this: &Bound<'_, Limiter>, request: &Request) -> PyResult<bool> {
    let needs_time = Limiter::admission(this, |admission| admission.needs_time())?;
    let now_ns = if needs_time { limiter::now_ns(this.py())? } else { 0 };
    if Limiter::admission(this, |admission| admission.try_take(now_ns, request))? {
        return Ok(true);
    }
    if limiter::forget_the_dead(this)? || adaptive::comes_up(this)? {
        return Limiter::admission(this, |admission| admission.try_take(now_ns, request));
    }
    Ok(false)
}

/// What those are told who would have to wait, and do not.
#[cold]
pub(super) fn must_wait(this: &Bound<'_, Limiter>, request: &Request) -> PyResult<PyErr> {
    let now_ns = limiter::now_ns(this.py())?;
    let cause = Limiter::admission(this, |admission| {
        if admission.is_closed() {
            Cause::Closed
        } else {
            Cause::MustWait { wait_ns: admission.wait_ns(now_ns, request) }
        }
    })?;
    refusal::of_cause(this, cause, request)
}

/// Raises if the request may not wait.
fn may_join(this: &Bound<'_, Limiter>, request: &Request, deadline_ns: Option<u64>) -> PyResult<()> {
    let now_ns = limiter::now_ns(this.py())?;
    let refused = Limiter::admission(this, |admission| {
        let refused = admission.may_join(now_ns, request, deadline_ns).err();
        refused.map(|refused| Cause::Refused(refused, admission.wait_ns(now_ns, request)))
    })?;
    match refused {
        None => Ok(()),
        Some(cause) => Err(refusal::of_cause(this, cause, request)?),
    }
}
