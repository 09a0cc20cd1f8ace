//! Door: by which an owner of tasks (a group, a gather, a map) asks its limiters whether the next one may begin.
//!
//! The owner keeps a line of its own, and has at most one ask open, for whoever is the first of that line: so a
//! limiter that owners share serves these in turn, and who waits costs nothing here. The limiters are asked in
//! their order, and what those before have given is held meanwhile; all of it goes back, in reverse, if one of
//! them refuses or the owner withdraws. Invariant: while no ask is open, the door holds nothing: what an ask has
//! got is its owner's, who lends it to a task (`lend`) or puts it back (`put_back`).

use std::ffi::CStr;

use pyo3::prelude::*;
use tonnage_core::clock;
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::{Request, Ticket};

use super::ask::{self, Asked, Wait};
use super::holders::{Kind, Loan};
use super::limiter::Limiter;
use super::outcome::Outcome;
use super::permit;
use super::refusal::check_most;
use super::serve::Payload;
use crate::cpython::native_class::create;
use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::future::{self, Ended};
use crate::{errors, structured};

pub(crate) struct Door {
    limiters: Box<[Owned<Limiter>]>,
    ask: Guarded<Ask>,
}

enum Ask {
    None,
    /// A limiter is being asked. What it has told meanwhile is kept.
    Open {
        asker: Asker,
        told: Option<Owned>,
    },
    /// The door stands in the line of the limiter in this place.
    Waits {
        asker: Asker,
        place: usize,
        ticket: Ticket,
    },
}

/// Who asks.
struct Asker {
    owner: Owned,
    /// That of the owner.
    event_loop: Owned,
    deadline_ns: Option<u64>,
}

impl Asker {
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.owner) {
            0 => visit.call(&self.event_loop),
            shown => shown,
        }
    }
}

/// What a task has of the limiters of its owner, in their order; of those that get back what they give.
pub(crate) struct Loans(Box<[Option<Loan>]>);

/// A child, an item or a call needs one token of each.
const ONE: Request = Request { tokens: 1, key: NO_KEY, priority: 0 };

impl Door {
    pub(crate) fn create(py: Python<'_>, limiters: Box<[Owned<Limiter>]>) -> PyResult<Owned<Self>> {
        create(py, Self { limiters, ask: Guarded::new(Ask::None) }).map(Owned::from)
    }

    /// Does an ask hold something, or stand in a line?
    pub(crate) fn is_open(&self, py: Python<'_>) -> bool {
        self.ask.with(py, |ask| !matches!(ask, Ask::None))
    }

    /// Ends the ask, and gives its owner.
    fn close(&self, py: Python<'_>) -> Ask {
        self.ask.with(py, |ask| std::mem::replace(ask, Ask::None))
    }
}

/// A deadline in the loop's seconds, as limiters count it.
pub(crate) fn deadline_ns(deadline_s: Option<f64>) -> Option<u64> {
    deadline_s.map(clock::from_seconds)
}

/// Takes one token of each limiter, if that needs no wait and no ask is open.
pub(crate) fn try_enter(door: &Bound<'_, Door>) -> PyResult<bool> {
    let py = door.py();
    if door.value().is_open(py) {
        return Ok(false);
    }
    for (place, limiter) in door.value().limiters.iter().enumerate() {
        let limiter = limiter.bind(py);
        let taken = check_most(limiter, &ONE).and_then(|()| ask::try_take(limiter, &ONE));
        if !matches!(taken, Ok(true)) {
            give_back(door, place)?;
            return taken;
        }
    }
    Ok(true)
}

/// Asks for who is first in the owner's line, and must be through by the deadline: true if it may begin. Else the
/// owner is told later (`structured::door_opened`), if no error says that it is refused. While an ask is open nothing
/// happens.
pub(crate) fn ask(
    door: &Bound<'_, Door>,
    owner: &Object<'_>,
    event_loop: &Object<'_>,
    deadline_ns: Option<u64>,
) -> PyResult<bool> {
    let py = door.py();
    if door.value().is_open(py) {
        return Ok(false);
    }
    let asker = Asker { owner: owner.into(), event_loop: event_loop.into(), deadline_ns };
    drop(door.value().ask.with(py, |ask| std::mem::replace(ask, Ask::Open { asker, told: None })));
    go_on(door, 0)
}

/// Asks the limiters from this place on.
fn go_on(door: &Bound<'_, Door>, from: usize) -> PyResult<bool> {
    let py = door.py();
    for place in from..door.value().limiters.len() {
        let got = ask_one(door, place);
        if let Ok(true) = got {
            continue;
        }
        if got.is_err() {
            drop(door.value().close(py));
            give_back(door, place)?;
        }
        return got;
    }
    drop(door.value().close(py));
    Ok(true)
}

/// One limiter: true if it has given its token, false if the door waits for it.
fn ask_one(door: &Bound<'_, Door>, place: usize) -> PyResult<bool> {
    let py = door.py();
    let limiter = door.value().limiters[place].bind(py);
    check_most(limiter, &ONE)?;
    if ask::try_take(limiter, &ONE)? {
        return Ok(true);
    }
    let asker = door.value().ask.with(py, |ask| match ask {
        Ask::Open { asker, .. } => Some((asker.event_loop.get_bound(py), asker.deadline_ns)),
        Ask::None | Ask::Waits { .. } => None,
    });
    // The collector has cleared it.
    let Some((event_loop, deadline_ns)) = asker else { return Ok(false) };
    let payload = |_: &Object<'_>| Ok(Payload::Door(door.into()));
    let ticket =
        match ask::acquire_later(limiter, ONE, Wait { event_loop: Some(&event_loop), deadline_ns }, payload)?
        {
            Asked::Taken => return Ok(true),
            Asked::Waits(ticket) => ticket,
        };
    // A loop of another kind has run Python code, which may have had it served.
    let told = door.value().ask.with(py, |ask| {
        match std::mem::replace(ask, Ask::None) {
            Ask::Open { asker, told: None } => *ask = Ask::Waits { asker, place, ticket },
            Ask::Open { asker, told } => {
                *ask = Ask::Open { asker, told: None };
                return told;
            }
            other => *ask = other,
        }
        None
    });
    match told {
        None => Ok(false),
        Some(told) if is_grant(told.bind(py)) => Ok(true),
        Some(error) => Err(PyErr::from_value(error.into_bound(py))),
    }
}

/// The limiter that the door waits for hands it a token (True), or an error. False if nobody wants it any more.
pub(super) fn told(door: &Bound<'_, Door>, what: &Object<'_>) -> bool {
    let py = door.py();
    let kept = Owned::from(what);
    let (found, unused) = door.value().ask.with(py, |ask| match std::mem::replace(ask, Ask::None) {
        Ask::None => (None, Some(kept)),
        Ask::Open { asker, told } => {
            *ask = Ask::Open { asker, told: Some(kept) };
            (None, told)
        }
        Ask::Waits { asker, place, .. } => {
            let owner = asker.owner.get_bound(py);
            *ask = Ask::Open { asker, told: None };
            (Some((owner, place)), Some(kept))
        }
    });
    drop(unused);
    let Some((owner, place)) = found else { return door.value().is_open(py) };
    let answer = if is_grant(what) {
        go_on(door, place + 1)
    } else {
        drop(door.value().close(py));
        give_back(door, place).and_then(|()| Err(PyErr::from_value(what.clone())))
    };
    let opened = match answer {
        Ok(false) => Ok(()),
        Ok(true) => structured::door_opened(&owner, door, Ok(())),
        Err(error) => structured::door_opened(&owner, door, Err(error)),
    };
    if let Err(error) = opened {
        error.write_unraisable(py, Some(&owner));
    }
    true
}

/// Ends an open ask: nobody is left who could begin.
pub(crate) fn withdraw(door: &Bound<'_, Door>) -> PyResult<()> {
    let py = door.py();
    let waits = |ask: &mut Ask| match ask {
        Ask::Waits { .. } => Some(std::mem::replace(ask, Ask::None)),
        // Whoever asks looks again when the limiter has answered.
        Ask::None | Ask::Open { .. } => None,
    };
    let Some(Ask::Waits { asker, place, ticket }) = door.value().ask.with(py, waits) else {
        return Ok(());
    };
    drop(asker);
    let left = ask::give_up(door.value().limiters[place].bind(py), ticket).map(drop);
    left.and(give_back(door, place))
}

/// Gives back what an ask has got, and is not used.
pub(crate) fn put_back(door: &Bound<'_, Door>) -> PyResult<()> {
    give_back(door, door.value().limiters.len())
}

/// Gives back one token of each limiter before this place, in reverse.
fn give_back(door: &Bound<'_, Door>, place: usize) -> PyResult<()> {
    let limiters = door.value().limiters[..place].iter().rev();
    limiters.map(|limiter| ask::untake(limiter.bind(door.py()), &ONE)).fold(Ok(()), Result::and)
}

/// Lends to a task what an ask has got.
pub(crate) fn lend<'py>(door: &Bound<'py, Door>, task: Option<&Object<'py>>) -> Loans {
    let py = door.py();
    let lend_one = |limiter: &Owned<Limiter>| {
        let limiter = limiter.bind(py);
        permit::note(limiter, ONE, || Ok(task.cloned()), Kind::Child).unwrap_or_else(|error| {
            // Only the clock of another loop fails. The task begins all the same, and holds nothing of this one.
            error.write_unraisable(py, task);
            if let Err(error) = ask::untake(limiter, &ONE) {
                error.write_unraisable(py, task);
            }
            None
        })
    };
    Loans(door.value().limiters.iter().map(lend_one).collect())
}

/// Takes back what was lent to a task, in reverse: it has ended, in this way.
pub(crate) fn release(door: &Bound<'_, Door>, loans: &Loans, ended: &Ended<'_>) -> PyResult<()> {
    release_each(door, loans, |limiter| match ended {
        Ended::Result(_) => Outcome::Ok,
        Ended::Exception(error) => Outcome::of(limiter, error),
        Ended::Cancelled => Outcome::Ignore,
    })
}

/// The owner is gone: withdraws, and takes back all that was lent.
pub(crate) fn abandon(door: &Bound<'_, Door>, loans: impl Iterator<Item = Loans>) {
    let withdrawn = withdraw(door);
    let released = loans.map(|loans| release_each(door, &loans, |_| Outcome::Ignore));
    for error in [withdrawn].into_iter().chain(released).filter_map(Result::err) {
        // The limiter is going away too.
        errors::swallow(error);
    }
}

fn release_each(
    door: &Bound<'_, Door>,
    loans: &Loans,
    outcome: impl Fn(&Bound<'_, Limiter>) -> Outcome,
) -> PyResult<()> {
    let lent = door.value().limiters.iter().zip(&loans.0).rev();
    let mut released = Ok(());
    for (limiter, loan) in lent {
        let limiter = limiter.bind(door.py());
        if let Some(loan) = *loan {
            // Each is told, whatever becomes of the others.
            released = released.and(permit::end(limiter, loan, outcome(limiter)).map(drop));
        }
    }
    released
}

/// The most tasks that the limiters let run at this moment; none: there is no end.
pub(crate) fn most(door: &Bound<'_, Door>) -> PyResult<Option<u64>> {
    let mut least = None;
    for limiter in &door.value().limiters {
        let lent = Limiter::admission(limiter.bind(door.py()), |admission| {
            if admission.is_lent() { admission.most(&ONE) } else { None }
        })?;
        least = least.into_iter().chain(lent).min();
    }
    Ok(least)
}

/// Was it handed a token, and not an error?
fn is_grant(value: &Object<'_>) -> bool {
    value.is(future::to_bool(value.py(), true))
}

impl NativeClass for Door {
    const NAME: &'static CStr = c"tonnage._tonnage.Door";
    const DOC: &'static CStr = c"Asks limiters on behalf of an owner of tasks.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(_slots: &mut Slots<Self>) {}

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let limiters = self.limiters.iter().map(|limiter| visit.call(limiter));
        let shown = limiters.into_iter().find(|shown| *shown != 0).unwrap_or(0);
        if shown != 0 {
            return shown;
        }
        self.ask.traverse(0, |ask| match ask {
            Ask::None => 0,
            Ask::Open { asker, told } => match asker.traverse(visit) {
                0 => visit.option(told.as_deref()),
                shown => shown,
            },
            Ask::Waits { asker, .. } => asker.traverse(visit),
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.close(py));
    }
}
