//! Lending: a member of a bounded group waits for a sibling that stands in the line, and lends it its slot.
//!
//! Else nobody might ever give a slot back. The one it waits for leaves the line at once, and runs above the
//! limit; nobody else is let in until so many have ended as did so. A member lends to one at a time: when that
//! one has ended, and the member still waits, the next one has the slot. Who goes on before that, because it was
//! cancelled or its time was over, runs beside the other until one of both has ended.
//!
//! A member *seeks* from the moment that something of ours begins to watch a sibling of the line for it: an
//! await, a gather, a wait. Each time that it waits afterwards, we look whether it waits for such a sibling.
//! When a task of another implementation begins to wait is not known: it lends at once.

use std::collections::VecDeque;

use pyo3::prelude::*;

use super::{Key, TaskGroup, bounded};
use crate::cpython::{Native, Object, Owned, Visit, recursion};
use crate::future::{self, Future};
use crate::structured::gather::GatheringFuture;
use crate::structured::{AsCompletedIterator, Waiting, shield};
use crate::task::{Standing, Task};
use crate::{names, running};

/// A member who may wait for siblings of the line.
pub(super) struct Seeker {
    member: Owned,
    /// Bounded by what the member has begun to watch; who has left the line goes when it is met.
    wanted: VecDeque<Owned<Task>>,
    lent_to: Option<Owned<Task>>,
}

impl Seeker {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let tasks = self.wanted.iter().chain(&self.lent_to).map(|task| visit.call(task));
        std::iter::once(visit.call(&self.member)).chain(tasks).find(|shown| *shown != 0).unwrap_or(0)
    }
}

/// The running task begins to watch one that stands in the line.
#[cold]
pub(crate) fn seek(wanted: &Bound<'_, Task>) -> PyResult<()> {
    let py = wanted.py();
    let Some(group) = group_of(wanted) else { return Ok(()) };
    let Some(member) = running::task(&group.value().event_loop(py)?)? else { return Ok(()) };
    if !bounded::is_member(&group, &member) {
        return Ok(());
    }
    let wanted = Owned::from(wanted);
    group.value().state.with(py, |state| {
        let seekers = &mut state.slots().seekers;
        match seekers.iter_mut().find(|seeker| seeker.member.is(&member)) {
            Some(seeker) => seeker.wanted.push_back(wanted),
            None => seekers.push(Seeker {
                member: Owned::from(&member),
                wanted: VecDeque::from([wanted]),
                lent_to: None,
            }),
        }
    });
    match member.cast::<Task>() {
        Ok(task) => {
            task.value().stand(py, Standing::Seeks);
            Ok(())
        }
        Err(_) => lend(&group, &member),
    }
}

/// A callback is added to one that stands in the line: is it a task of another implementation that waits?
#[cold]
pub(crate) fn seek_by_callback(wanted: &Bound<'_, Task>, callback: &Object<'_>) -> PyResult<()> {
    let py = wanted.py();
    let event_loop = wanted.value().future.event_loop(py)?;
    let Some(running) = running::task(&event_loop)? else { return Ok(()) };
    let waits = match callback.getattr_opt(names::__self__(py))? {
        Some(owner) => owner.is(&running),
        // Before 3.12 the wakeup of asyncio's task does not tell whose it is.
        None => callback.get_type().name()? == "TaskWakeupMethWrapper",
    };
    if waits { seek(wanted) } else { Ok(()) }
}

/// A member who seeks has begun to wait.
#[cold]
pub(crate) fn suspended(member: &Bound<'_, Task>) {
    // None: it starts eagerly, and is no child yet.
    let Some(group) = group_of(member) else { return };
    lend_or_report(&group, member.as_any());
}

/// As `lend`; who waits does so already, and nobody else can be told of an error.
pub(super) fn lend_or_report(group: &Bound<'_, TaskGroup>, member: &Object<'_>) {
    if let Err(error) = lend(group, member) {
        error.write_unraisable(group.py(), Some(group.as_any()));
    }
}

/// The bounded group whose child the task is.
fn group_of<'py>(task: &Bound<'py, Task>) -> Option<Bound<'py, TaskGroup>> {
    let py = task.py();
    let parents = future::parents(Task::as_future(task));
    let mut groups = parents.into_iter().filter_map(|(parent, _)| parent.cast_into::<TaskGroup>().ok());
    groups.find(|group| group.value().is_bounded(py))
}

/// Gives the slot of `member` to the first sibling of the line that it waits for.
fn lend(group: &Bound<'_, TaskGroup>, member: &Object<'_>) -> PyResult<()> {
    let py = group.py();
    let awaited = match member.cast::<Task>() {
        Ok(task) => {
            let awaited =
                task.value().state.with(py, |state| state.waiter.as_ref().map(|it| it.get_bound(py)));
            // It runs, or is about to.
            let Some(awaited) = awaited else { return Ok(()) };
            if future::is_done(&awaited)? {
                return Ok(());
            }
            Some(awaited)
        }
        Err(_) if future::is_done(member)? => return Ok(()),
        Err(_) => None,
    };
    let waits_for = |task: &Bound<'_, Task>| match &awaited {
        Some(awaited) => leads_to(task.as_any(), awaited),
        None => Ok(true),
    };
    let lent_to = with_seeker(group, member, |seeker| seeker.lent_to.as_ref().map(|task| task.get_bound(py)));
    if let Some(lent_to) = lent_to.flatten()
        && lent_to.value().future.is_pending(py)
        && waits_for(&lent_to)?
    {
        return Ok(());
    }
    let mut place = 0;
    while let Some(wanted) =
        with_seeker(group, member, |seeker| seeker.wanted.get(place).map(|task| task.get_bound(py))).flatten()
    {
        let in_line = wanted.value().is_in_line(py);
        if in_line && !waits_for(&wanted)? {
            place += 1;
            continue;
        }
        drop(with_seeker(group, member, |seeker| seeker.wanted.remove(place)));
        if in_line {
            let lent_to = Some(Owned::from(&wanted));
            drop(with_seeker(group, member, |seeker| std::mem::replace(&mut seeker.lent_to, lent_to)));
            return start(group, &wanted);
        }
    }
    if place == 0 {
        // Nobody is left whom it could wait for.
        forget(group, member);
    }
    Ok(())
}

/// Calls `visit` with what the group knows of a member that seeks.
fn with_seeker<R>(
    group: &Bound<'_, TaskGroup>,
    member: &Object<'_>,
    visit: impl FnOnce(&mut Seeker) -> R,
) -> Option<R> {
    group.value().state.with(group.py(), |state| {
        state.slots().seekers.iter_mut().find(|seeker| seeker.member.is(member)).map(visit)
    })
}

fn forget(group: &Bound<'_, TaskGroup>, member: &Object<'_>) {
    let py = group.py();
    if let Ok(task) = member.cast::<Task>()
        && task.value().seeks(py)
    {
        task.value().stand(py, Standing::Plain);
    }
    let gone = group.value().state.with(py, |state| {
        let seekers = &mut state.slots().seekers;
        seekers.iter().position(|seeker| seeker.member.is(member)).map(|place| seekers.swap_remove(place))
    });
    drop(gone);
}

/// Takes a task out of the line, and lets it begin on a slot that is lent.
fn start(group: &Bound<'_, TaskGroup>, task: &Bound<'_, Task>) -> PyResult<()> {
    let Some(key) = future::key_of_parent(Task::as_future(task), group.as_any()) else { return Ok(()) };
    let index = Key::unpack(key).index;
    match group.value().state.with(group.py(), |state| state.slots().lend(index)) {
        Some(waiting) => bounded::begin(group, waiting, Some(task.as_any())),
        None => Ok(()),
    }
}

/// A child has ended: who lent it a slot lends it to the next.
pub(super) fn child_left(group: &Bound<'_, TaskGroup>, child: &Object<'_>) -> PyResult<()> {
    let py = group.py();
    if group.value().state.with(py, |state| state.slots().seekers.is_empty()) {
        return Ok(());
    }
    forget(group, child);
    let lenders: Vec<_> = group.value().state.with(py, |state| {
        let seekers = state.slots().seekers.iter();
        let lenders = seekers.filter(|seeker| seeker.lent_to.as_ref().is_some_and(|task| task.is(child)));
        lenders.map(|seeker| seeker.member.get_bound(py)).collect()
    });
    lenders.iter().map(|member| lend(group, member)).fold(Ok(()), Result::and)
}

/// Does the end of `future` lead to that of `awaited`, by way of gathers and their like?
fn leads_to(future: &Object<'_>, awaited: &Object<'_>) -> PyResult<bool> {
    let py = future.py();
    if future.is(awaited) {
        return Ok(true);
    }
    let Ok(native) = future.cast::<Future>() else { return Ok(false) };
    for (parent, key) in future::parents(native) {
        let found = if key == shield::OUTER || parent.is_instance_of::<TaskGroup>() {
            false
        } else if let Ok(waiting) = parent.cast::<Waiting>() {
            waiting.value().waiter(py).is(awaited)
        } else if let Ok(iterator) = parent.cast::<AsCompletedIterator>() {
            iterator.value().has_waiter(awaited)
        } else if parent.is_instance_of::<GatheringFuture>() || parent.is_instance_of::<Future>() {
            recursion::checked(py, c" while looking for what a task waits for", || {
                leads_to(&parent, awaited)
            })?
        } else {
            parent.is(awaited)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
