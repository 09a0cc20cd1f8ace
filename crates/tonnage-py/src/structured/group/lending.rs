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

use super::{Key, TaskGroup, bounded, permits};
use crate::cpython::{Native, Object, Owned, Visit, recursion};
use crate::future::{self, Future};
use crate::structured::{AsCompletedIterator, Waiting, shield};
use crate::task::{Standing, Task};
use crate::{names, running};

/// A member who may wait for siblings of the line.
pub(super) struct Seeker {
    member: Owned,
    /// Bounded by what the member has begun and not ended: whatever has ended goes when the member waits again.
    sought: VecDeque<Sought>,
    lent_to: Option<Owned<Task>>,
}

/// Something by which a member may come to wait: a sibling itself, a gather, a wait...
struct Sought {
    by: Owned,
    /// The siblings that it watches; who has left the line goes when it is met.
    siblings: VecDeque<Owned<Task>>,
}

impl Seeker {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let siblings = self.sought.iter().flat_map(|sought| &sought.siblings);
        let tasks = siblings.chain(&self.lent_to).map(|task| visit.call(task));
        let objects = self.sought.iter().map(|sought| &sought.by).chain([&self.member]);
        objects.map(|object| visit.call(object)).chain(tasks).find(|shown| *shown != 0).unwrap_or(0)
    }

    fn seek(&mut self, sibling: Owned<Task>, by: Owned) {
        match self.sought.back_mut() {
            Some(last) if last.by.is(&*by) => last.siblings.push_back(sibling),
            _ => self.sought.push_back(Sought { by, siblings: VecDeque::from([sibling]) }),
        }
    }
}

/// The running task begins to watch `sibling`, which stands in the line, by something that will wake it.
#[cold]
pub(crate) fn seek(sibling: &Bound<'_, Task>, by: &Object<'_>) -> PyResult<()> {
    let py = sibling.py();
    let Some(group) = group_of(sibling) else { return Ok(()) };
    let Some(member) = running::task(&group.value().event_loop(py)?)? else { return Ok(()) };
    if !bounded::is_member(&group, &member) {
        return Ok(());
    }
    let (sibling, by) = (Owned::from(sibling), Owned::from(by));
    let kept = Owned::from(&member);
    let unused = group.value().state.with(py, |state| {
        let seekers = &mut state.slots().seekers;
        if let Some(known) = seekers.iter_mut().find(|seeker| seeker.member.is(&member)) {
            known.seek(sibling, by);
            return Some(kept);
        }
        let mut seeker = Seeker { member: kept, sought: VecDeque::new(), lent_to: None };
        seeker.seek(sibling, by);
        seekers.push(seeker);
        None
    });
    drop(unused);
    match member.cast::<Task>() {
        Ok(task) => {
            task.value().stand(py, Standing::Seeks);
            Ok(())
        }
        Err(_) => {
            let count = with_seeker(&group, &member, |seeker| seeker.sought.len()).unwrap_or(0);
            // To tidy up at each power of two costs no more than to add.
            lend(&group, &member, count.is_power_of_two())
        }
    }
}

/// A callback is added to one that stands in the line: is it a task of another implementation that waits?
#[cold]
pub(crate) fn seek_by_callback(sibling: &Bound<'_, Task>, callback: &Object<'_>) -> PyResult<()> {
    let py = sibling.py();
    let event_loop = sibling.value().future.event_loop(py)?;
    let Some(running) = running::task(&event_loop)? else { return Ok(()) };
    let waits = match callback.getattr_opt(names::__self__(py))? {
        Some(owner) => owner.is(&running),
        // Before 3.12 the wakeup of asyncio's task does not tell whose it is.
        None => callback.get_type().name()? == "TaskWakeupMethWrapper",
    };
    if waits { seek(sibling, sibling.as_any()) } else { Ok(()) }
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
    if let Err(error) = lend(group, member, true) {
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

/// Gives the slot of `member` to the first sibling of the line that it waits for. It `tidies` up what it does not
/// wait for any more.
fn lend(group: &Bound<'_, TaskGroup>, member: &Object<'_>, tidies: bool) -> PyResult<()> {
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
    let waits_by = |by: &Object<'_>| match &awaited {
        Some(awaited) => leads_to(by, awaited),
        None => may_be_awaited(by),
    };
    let lent_to = with_seeker(group, member, |seeker| seeker.lent_to.as_ref().map(|task| task.get_bound(py)));
    let has_lent = match lent_to.flatten() {
        Some(task) => task.value().future.is_pending(py) && waits_by(task.as_any())?,
        None => false,
    };
    if has_lent && !tidies {
        return Ok(());
    }
    let mut place = 0;
    let mut found = None;
    while let Some(by) =
        with_seeker(group, member, |seeker| seeker.sought.get(place).map(|it| it.by.get_bound(py))).flatten()
    {
        let waits = waits_by(&by)?;
        if waits && !has_lent && found.is_none() {
            found = next_in_line(group, member, place);
        }
        // What is looked at again has siblings, or will be awaited.
        let is_of_use = if waits { has_siblings(group, member, place) } else { may_be_awaited(&by)? };
        if is_of_use {
            place += 1;
        } else {
            drop(with_seeker(group, member, |seeker| seeker.sought.remove(place)));
        }
        if found.is_some() && !tidies {
            break;
        }
    }
    if let Some(sibling) = found {
        let lent_to = Some(Owned::from(&sibling));
        drop(with_seeker(group, member, |seeker| std::mem::replace(&mut seeker.lent_to, lent_to)));
        return start(group, &sibling);
    }
    if place == 0 && !has_lent {
        // Nobody is left whom it could wait for.
        forget(group, member);
    }
    Ok(())
}

fn has_siblings(group: &Bound<'_, TaskGroup>, member: &Object<'_>, place: usize) -> bool {
    with_seeker(group, member, |seeker| seeker.sought.get(place).is_some_and(|it| !it.siblings.is_empty()))
        .unwrap_or(false)
}

/// The next sibling that still stands in the line.
fn next_in_line<'py>(
    group: &Bound<'py, TaskGroup>,
    member: &Object<'py>,
    place: usize,
) -> Option<Bound<'py, Task>> {
    let py = group.py();
    loop {
        let next = with_seeker(group, member, |seeker| {
            seeker.sought.get_mut(place).and_then(|sought| sought.siblings.pop_front())
        });
        let next = next.flatten()?.into_bound(py);
        if next.value().is_in_line(py) {
            return Some(next);
        }
    }
}

/// May the member still come to wait by this, which it does not do at present?
fn may_be_awaited(by: &Object<'_>) -> PyResult<bool> {
    let py = by.py();
    if let Ok(waiting) = by.cast::<Waiting>() {
        return waiting.value().is_waited_for(py);
    }
    if let Ok(iterator) = by.cast::<AsCompletedIterator>() {
        return Ok(iterator.value().has_pending(py));
    }
    // A sibling that a task of ours awaited is sought anew when it is awaited again.
    Ok(!future::is_done(by)?)
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
        Some(waiting) => {
            let begun = bounded::begin(group, waiting, Some(task.as_any()));
            begun.and(permits::line_left(group))
        }
        None => Ok(()),
    }
}

/// The index of the one that runs on the slot of `member`, which ends before it.
pub(super) fn heir(group: &Bound<'_, TaskGroup>, member: &Object<'_>) -> Option<u32> {
    let py = group.py();
    let lent_to = with_seeker(group, member, |seeker| seeker.lent_to.as_ref().map(|task| task.get_bound(py)));
    let task = lent_to.flatten().filter(|task| task.value().future.is_pending(py))?;
    let key = future::key_of_parent(Task::as_future(&task), group.as_any())?;
    Some(Key::unpack(key).index)
}

/// A child has ended: who lent it a slot lends it to the next.
pub(super) fn child_left(group: &Bound<'_, TaskGroup>, child: &Object<'_>) -> PyResult<()> {
    let py = group.py();
    if group.value().state.with(py, |state| state.slots().seekers.is_empty()) {
        return Ok(());
    }
    forget(group, child);
    let (lenders, gone): (Vec<_>, Vec<_>) = group.value().state.with(py, |state| {
        let lent_to_it = |seeker: &&mut Seeker| seeker.lent_to.as_ref().is_some_and(|task| task.is(child));
        let lenders = state.slots().seekers.iter_mut().filter(lent_to_it);
        lenders.map(|seeker| (seeker.member.get_bound(py), seeker.lent_to.take())).unzip()
    });
    drop(gone);
    lenders.iter().map(|member| lend(group, member, false)).fold(Ok(()), Result::and)
}

/// Does the end of `by` lead to that of `awaited`, maybe by way of gathers and their like?
fn leads_to(by: &Object<'_>, awaited: &Object<'_>) -> PyResult<bool> {
    let py = by.py();
    if by.is(awaited) {
        return Ok(true);
    }
    if let Ok(waiting) = by.cast::<Waiting>() {
        return Ok(waiting.value().waiter(py).is(awaited));
    }
    if let Ok(iterator) = by.cast::<AsCompletedIterator>() {
        return Ok(iterator.value().has_waiter(awaited));
    }
    let Ok(native) = by.cast::<Future>() else { return Ok(false) };
    for (parent, key) in future::parents(native) {
        if key != shield::OUTER
            && recursion::checked(py, c" while looking for what a task waits for", || {
                leads_to(&parent, awaited)
            })?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
