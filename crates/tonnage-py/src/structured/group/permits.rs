//! Permits: the limiters of a group, which decide in place of slots who may begin.
//!
//! The group asks by a door for the first of its line, one at a time; slots only count. What the limiters give is
//! lent to the child until it has ended, and goes back with its outcome. A child that runs on the slot of a member
//! who waits for it, or has started it, has nothing of its own, and inherits what that one has if it ends first.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use super::bounded::{self, Bounded, Waiting};
use super::{TaskGroup, lending};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::limits::Loans;
use crate::limits::door::{self, Door};
use crate::task::{self, Standing, Task};
use crate::{errors, future, running};

pub(super) struct Permits {
    door: Owned<Door>,
    /// Of each child that has something, by its index.
    lent: BTreeMap<u32, Loans>,
    /// Of each child that a member has started on its own slot, that member; both by their indices.
    started_by: BTreeMap<u32, u32>,
}

impl Permits {
    pub(super) fn new(door: Owned<Door>) -> Self {
        Self { door, lent: BTreeMap::new(), started_by: BTreeMap::new() }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.door)
    }

    /// Takes what a child has that has ended, unless somebody inherits it whom it has started.
    fn take(&mut self, index: u32) -> Option<Loans> {
        self.started_by.remove(&index);
        let has_none = |started: &u32| !self.lent.contains_key(started);
        let mut started = self.started_by.iter().filter(|(_, member)| **member == index);
        let heir = started.find(|(started, _)| has_none(started)).map(|(started, _)| *started);
        self.started_by.retain(|_, member| *member != index);
        let loans = self.lent.remove(&index)?;
        match heir {
            Some(heir) => self.lent.insert(heir, loans),
            None => Some(loans),
        }
    }
}

impl Bounded {
    /// What a child has of the limiters, which is to go back.
    pub(super) fn take_loans(&mut self, index: u32) -> Option<Loans> {
        self.permits.as_mut().and_then(|permits| permits.take(index))
    }
}

/// The door of a group whose limit is limiters.
fn door<'py>(group: &Bound<'py, TaskGroup>) -> Option<Bound<'py, Door>> {
    let py = group.py();
    group
        .value()
        .state
        .with(py, |state| state.bounded.as_ref()?.permits.as_ref().map(|permits| permits.door.get_bound(py)))
}

/// Do limiters decide in this group?
#[inline]
pub(super) fn decide(group: &Bound<'_, TaskGroup>) -> bool {
    group
        .value()
        .state
        .with(group.py(), |state| state.bounded.as_ref().is_some_and(|it| it.permits.is_some()))
}

/// Takes a permit of each limiter and a slot, if nobody is before.
pub(super) fn try_enter(group: &Bound<'_, TaskGroup>) -> PyResult<bool> {
    let py = group.py();
    let Some(door) = door(group) else { return Ok(false) };
    if !group.value().state.with(py, |state| state.slots().line.is_empty()) || !door::try_enter(&door)? {
        return Ok(false);
    }
    let is_free = group.value().state.with(py, |state| state.slots().slots.take());
    Ok(is_free)
}

/// Lets in the first of the line, as long as the limiters do.
pub(super) fn admit(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let py = group.py();
    let Some(door) = door(group) else { return Ok(()) };
    let event_loop = group.value().event_loop(py)?;
    let mut admitted = Ok(());
    loop {
        let first = group.value().state.with(py, |state| {
            let first = state.bounded.as_ref()?.line.iter().next()?;
            let child = first.index().and_then(|index| state.children.get(index));
            Some((first.deadline_ns(), child.map(|child| child.get_bound(py))))
        });
        let Some((deadline_ns, child)) = first else {
            // Nobody is left for whom to ask.
            return admitted.and(door::withdraw(&door));
        };
        let deadline_ns = deadline_ns.or_else(|| deadline_of_child(child.as_ref()?));
        let answer = match door::ask(&door, group.as_any(), &event_loop, deadline_ns) {
            Ok(false) => return admitted,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        admitted = admitted.and(let_in(group, &door, answer));
    }
}

/// The limiters have answered for the first of the line.
pub(crate) fn door_opened<'py>(
    group: &Bound<'py, TaskGroup>,
    door: &Bound<'py, Door>,
    answer: PyResult<()>,
) -> PyResult<()> {
    let let_in = let_in(group, door, answer);
    let_in.and(admit(group))
}

/// By when the child must have ended: it inherits that.
fn deadline_of_child(child: &Object<'_>) -> Option<u64> {
    let task = child.cast::<Task>().ok()?;
    door::deadline_ns(Some(task.value().inherited(task.py())).filter(|deadline_s| deadline_s.is_finite()))
}

/// Tells the first of the line what the limiters say.
fn let_in<'py>(group: &Bound<'py, TaskGroup>, door: &Bound<'py, Door>, answer: PyResult<()>) -> PyResult<()> {
    let py = group.py();
    let first = group.value().state.with(py, |state| {
        let bounded = state.bounded.as_mut()?;
        let waiting = if answer.is_ok() { bounded.next() } else { bounded.refuse_next() }?;
        let child = waiting.index().and_then(|index| state.children.get(index));
        Some((waiting, child.map(|child| child.get_bound(py))))
    });
    match (first, answer) {
        // He who asked has left.
        (None, Ok(())) => door::put_back(door),
        (None, Err(error)) => {
            errors::swallow(error);
            Ok(())
        }
        (Some((waiting, child)), Ok(())) => {
            if let (Some(index), Some(child)) = (waiting.index(), &child) {
                lend(group, child, index);
            }
            bounded::begin(group, waiting, child.as_ref())
        }
        (Some((waiting, child)), Err(error)) => {
            refuse(waiting, child.as_ref(), errors::into_object(py, error))
        }
    }
}

/// Who waits will not begin, for this error.
fn refuse<'py>(waiting: Waiting, child: Option<&Object<'py>>, error: Object<'py>) -> PyResult<()> {
    let py = error.py();
    match waiting {
        Waiting::Parked(_) => match child {
            Some(child) => task::refuse_parked(child.cast().map_err(PyErr::from)?, &error),
            None => Ok(()),
        },
        Waiting::Postponed(_, waiter) => {
            if let Some(Ok(task)) = child.map(|child| child.cast::<Task>()) {
                task.value().stand(py, Standing::Plain);
            }
            waiter.wake(&error).map(drop)
        }
        Waiting::Caller(waiter, _) => waiter.wake(&error).map(drop),
    }
}

/// The child has what the limiters have given.
pub(super) fn lend<'py>(group: &Bound<'py, TaskGroup>, child: &Object<'py>, index: u32) {
    let Some(door) = door(group) else { return };
    let loans = door::lend(&door, Some(child));
    group.value().state.with(group.py(), |state| {
        if let Some(permits) = &mut state.slots().permits {
            permits.lent.insert(index, loans);
        }
    });
}

/// A member has started a child on its own slot.
pub(super) fn note_starter(group: &Bound<'_, TaskGroup>, child: u32) -> PyResult<()> {
    if !decide(group) {
        return Ok(());
    }
    let py = group.py();
    let Some(member) = running::task(&group.value().event_loop(py)?)? else { return Ok(()) };
    let Some(member) = bounded::index_of(group, &member) else { return Ok(()) };
    group.value().state.with(py, |state| {
        if let Some(permits) = &mut state.slots().permits {
            permits.started_by.insert(child, member);
        }
    });
    Ok(())
}

/// What was taken of the limiters has no use.
pub(super) fn put_back(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    door(group).map_or(Ok(()), |door| door::put_back(&door))
}

/// A child has ended that has these.
pub(super) fn child_left(group: &Bound<'_, TaskGroup>, child: &Object<'_>, loans: Loans) -> PyResult<()> {
    let py = group.py();
    let Some(door) = door(group) else { return Ok(()) };
    let heir = lending::heir(group, child);
    let loans = group.value().state.with(py, |state| {
        let (Some(permits), Some(heir)) = (&mut state.slots().permits, heir) else { return Some(loans) };
        // It has its own if it has inherited before.
        if permits.lent.contains_key(&heir) {
            return Some(loans);
        }
        permits.lent.insert(heir, loans);
        None
    });
    let Some(loans) = loans else { return Ok(()) };
    door::release(&door, &loans, &future::ended(child)?)
}

/// Somebody has left the line before its turn: if nobody is left in it, nothing is asked any more.
pub(super) fn line_left(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let Some(door) = door(group) else { return Ok(()) };
    let is_empty = group.value().state.with(group.py(), |state| state.slots().line.is_empty());
    if is_empty { door::withdraw(&door) } else { Ok(()) }
}

/// The group is gone: whatever its limiters have given goes back.
pub(super) fn abandon(group: &TaskGroup, py: Python<'_>) {
    let permits = group.state.with(py, |state| {
        let permits = state.bounded.as_mut()?.permits.as_mut()?;
        Some((permits.door.get_bound(py), std::mem::take(&mut permits.lent)))
    });
    if let Some((door, lent)) = permits {
        door::abandon(&door, lent.into_values());
    }
}
