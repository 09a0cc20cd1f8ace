//! Bounded: the slots of a group with `limit=`, and the line of those who wait for one.
//!
//! One line, first come first served: tasks that `create_task` has put there before they began, and callers of
//! `submit` and `start`. A slot is given back when its task has ended, and the first of the line has it in the
//! same moment, so nobody waits while a slot is free. Invariants: `places` says of each child whether it has a
//! slot or a place in the line; a caller is counted from its first wait until its task exists or it gave up,
//! and so long the block waits for it.

use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

use pyo3::prelude::*;
use tonnage_core::waiters::{Ticket, Waiters};

use super::lending::{self, Seeker};
use super::permits::{self, Permits};
use super::{Key, State, TaskGroup};
use crate::cpython::{Native, Object, Visit};
use crate::future;
use crate::limits::Loans;
use crate::structured::limit::Limit;
use crate::structured::slots::Slots;
use crate::task::{self, Standing, Task};
use crate::waiter::Waiter;

pub(super) struct Bounded {
    pub(super) slots: Slots,
    /// How many tasks may stand in the line.
    max_pending: usize,
    /// Bounded by `max_pending` and by the callers, each of which is a task that waits.
    pub(super) line: Waiters<Waiting>,
    /// Tasks in the line.
    parked: usize,
    /// Callers who wait, or were granted a slot that their task does not have yet.
    callers: usize,
    /// By the index of each child.
    places: Vec<Place>,
    /// Tasks that an abort has taken out of the line.
    never_started: usize,
    /// Children that are being made, and may run before they are children.
    being_made: usize,
    /// Members who lend their slots.
    pub(super) seekers: Vec<Seeker>,
    /// With limiters, which decide in place of the slots: who has what of them.
    pub(super) permits: Option<Permits>,
}

/// Who stands in the line.
pub(super) enum Waiting {
    /// A child that has made no step.
    Parked(u32),
    /// A child of the loop's task factory, and what it waits for before it begins.
    Postponed(u32, Waiter),
    /// Who calls `submit` or `start`, and by when it must be through.
    Caller(Waiter, Option<NonZeroU64>),
}

impl Waiting {
    /// The child's, if it is one.
    pub(super) fn index(&self) -> Option<u32> {
        match self {
            Self::Parked(index) | Self::Postponed(index, _) => Some(*index),
            Self::Caller(..) => None,
        }
    }

    /// A caller's deadline, where limiters decide.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        match self {
            Self::Caller(_, deadline_ns) => deadline_ns.map(NonZeroU64::get),
            Self::Parked(_) | Self::Postponed(..) => None,
        }
    }
}

/// What a child has.
#[derive(Clone, Copy)]
enum Place {
    /// A daemon, or one that was taken out of the line and ends.
    None,
    Line(Ticket),
    Slot,
}

/// The answer to a task that wants to begin.
pub(super) enum Answer {
    /// It has a slot.
    Slot,
    /// It has one if the limiters let it in at once (`permits::try_enter`).
    Try,
    /// It may stand in the line.
    Line,
    Full {
        running: usize,
        waiting: usize,
    },
}

impl Bounded {
    pub(super) fn new(limit: Limit, max_pending: usize) -> Self {
        Self {
            slots: Slots::new(&limit),
            max_pending,
            line: Waiters::new(),
            parked: 0,
            callers: 0,
            places: Vec::new(),
            never_started: 0,
            being_made: 0,
            seekers: Vec::new(),
            permits: match limit {
                Limit::Count(_) => None,
                Limit::Door(door) => Some(Permits::new(door)),
            },
        }
    }

    #[inline]
    pub(super) fn ask(&mut self) -> Answer {
        if self.line.is_empty() {
            if self.permits.is_some() {
                return Answer::Try;
            }
            if self.slots.take() {
                return Answer::Slot;
            }
        }
        self.ask_for_place()
    }

    /// The answer to one for which there is no slot.
    #[inline]
    pub(super) fn ask_for_place(&self) -> Answer {
        if self.parked < self.max_pending {
            Answer::Line
        } else {
            Answer::Full { running: self.slots.taken(), waiting: self.line.len() }
        }
    }

    /// The child has the slot that was taken for it.
    #[inline]
    fn hold(&mut self, index: u32) {
        *self.place(index) = Place::Slot;
    }

    /// The child stands in the line.
    #[inline]
    pub(super) fn stand(&mut self, index: u32, waiting: Waiting) {
        let ticket = self.line.push(waiting);
        self.parked += 1;
        *self.place(index) = Place::Line(ticket);
    }

    #[inline]
    fn place(&mut self, index: u32) -> &mut Place {
        let index = index as usize;
        if self.places.len() <= index {
            self.make_places(index);
        }
        &mut self.places[index]
    }

    /// Places are made as the vector grows, not one by one.
    #[cold]
    fn make_places(&mut self, index: usize) {
        self.places.reserve(index + 1 - self.places.len());
        self.places.resize(self.places.capacity(), Place::None);
    }

    /// The child has ended, and gives its slot to the first of the line, whose index is the answer.
    ///
    /// # Errors
    /// Others have a say, as limiters, lenders and callers: nothing is changed, and all of them are to be asked.
    #[inline]
    pub(super) fn pass_on(&mut self, index: u32) -> Result<Option<u32>, ()> {
        let has_slot = matches!(self.places.get(index as usize), Some(Place::Slot));
        if !has_slot || self.permits.is_some() || !self.seekers.is_empty() {
            return Err(());
        }
        let next = match self.line.first() {
            None => None,
            Some(Waiting::Parked(next)) if self.slots.are_just_taken() => Some(*next),
            Some(_) => return Err(()),
        };
        self.places[index as usize] = Place::None;
        match next {
            None => self.slots.give_back(),
            Some(next) => {
                // Refers to nothing that is to be dropped.
                let _parked = ManuallyDrop::new(self.line.pop());
                self.parked -= 1;
                self.places[next as usize] = Place::Slot;
            }
        }
        Ok(next)
    }

    /// The child leaves the line, or gives its slot back.
    #[must_use]
    pub(super) fn leave(&mut self, index: u32) -> Option<Waiting> {
        match std::mem::replace(self.place(index), Place::None) {
            Place::None => None,
            Place::Slot => {
                self.slots.give_back();
                None
            }
            Place::Line(ticket) => {
                self.parked -= 1;
                self.line.remove(ticket)
            }
        }
    }

    /// May the first of the line begin?
    #[inline]
    pub(super) fn may_admit(&self) -> bool {
        self.permits.is_some() || (!self.line.is_empty() && self.slots.is_any_free())
    }

    /// The first of the line, if there is a slot, which is its own then.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        if self.line.is_empty() || !self.slots.take() {
            return None;
        }
        let next = self.line.pop();
        if let Some(Waiting::Parked(index) | Waiting::Postponed(index, _)) = next {
            self.parked -= 1;
            self.hold(index);
        }
        next
    }

    /// Lets a child out of the line before its time, on the slot of somebody who waits for it.
    pub(super) fn lend(&mut self, index: u32) -> Option<Waiting> {
        let Place::Line(_) = *self.place(index) else { return None };
        let waiting = self.leave(index);
        self.slots.borrow();
        self.hold(index);
        waiting
    }

    pub(super) fn has_slot(&mut self, index: u32) -> bool {
        matches!(self.place(index), Place::Slot)
    }

    /// Takes the first out of the line, who is refused.
    pub(super) fn refuse_next(&mut self) -> Option<Waiting> {
        let next = self.line.pop();
        if let Some(Waiting::Parked(index) | Waiting::Postponed(index, _)) = next {
            self.parked -= 1;
            *self.place(index) = Place::None;
        }
        next
    }

    /// Takes a slot for a caller, if there is one.
    pub(super) fn serve_caller(&mut self) -> bool {
        let is_free = self.line.is_empty() && self.slots.take();
        self.callers += usize::from(is_free);
        is_free
    }

    /// A caller has taken a slot.
    pub(super) fn count_caller(&mut self) {
        self.callers += 1;
    }

    /// Lets a caller stand in the line.
    pub(super) fn keep_caller(&mut self, waiter: Waiter, deadline_ns: Option<u64>) -> Ticket {
        self.callers += 1;
        self.line.push(Waiting::Caller(waiter, deadline_ns.and_then(NonZeroU64::new)))
    }

    /// A member calls, and lends its slot.
    pub(super) fn lend_to_caller(&mut self) {
        self.slots.borrow();
        self.callers += 1;
    }

    pub(super) fn remove_caller(&mut self, ticket: Ticket) -> Option<Waiting> {
        self.line.remove(ticket)
    }

    /// A caller has its task, or gave up.
    pub(super) fn caller_done(&mut self) {
        self.callers -= 1;
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    pub(super) fn callers(&self) -> usize {
        self.callers
    }

    pub(super) fn never_started(&self) -> usize {
        self.never_started
    }

    /// Empties the line for an abort.
    #[must_use]
    fn close(&mut self) -> Vec<Waiting> {
        let all = self.line.drain();
        for waiting in &all {
            if let Waiting::Parked(index) | Waiting::Postponed(index, _) = waiting {
                *self.place(*index) = Place::None;
                self.never_started += 1;
            }
        }
        self.parked = 0;
        all
    }

    /// Lets go of all references.
    #[must_use]
    pub(super) fn clear(&mut self) -> (Vec<Waiting>, Vec<Seeker>) {
        self.parked = 0;
        self.places.clear();
        (self.line.drain(), std::mem::take(&mut self.seekers))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let line = self.line.iter().map(|waiting| match waiting {
            Waiting::Parked(_) => 0,
            Waiting::Postponed(_, waiter) | Waiting::Caller(waiter, _) => waiter.traverse(visit),
        });
        let seekers = self.seekers.iter().map(|seeker| seeker.traverse(visit));
        let permits = self.permits.as_ref().map_or(0, |permits| permits.traverse(visit));
        line.chain(seekers).chain([permits]).find(|shown| *shown != 0).unwrap_or(0)
    }
}

impl State {
    /// The slots of a group that was found to be bounded.
    pub(super) fn slots(&mut self) -> &mut Bounded {
        self.bounded.as_mut().expect("a group that was made bounded stays so")
    }
}

/// Gives free slots to the first of the line.
#[inline]
pub(super) fn admit(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let may_admit = |state: &mut State| state.bounded.as_ref().is_some_and(|bounded| bounded.may_admit());
    if group.value().state.with(group.py(), may_admit) { admit_first(group) } else { Ok(()) }
}

fn admit_first(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    enum First<'py> {
        Slot(Waiting, Option<Object<'py>>),
        AskLimiters,
    }
    let py = group.py();
    let mut admitted = Ok(());
    while let Some(first) = group.value().state.with(py, |state| {
        let bounded = state.bounded.as_mut()?;
        if bounded.permits.is_some() {
            return Some(First::AskLimiters);
        }
        let waiting = bounded.next()?;
        let child = waiting.index().and_then(|index| state.children.get(index));
        Some(First::Slot(waiting, child.map(|child| child.get_bound(py))))
    }) {
        match first {
            // Each is told, whatever becomes of the others.
            First::Slot(waiting, child) => admitted = admitted.and(begin(group, waiting, child.as_ref())),
            First::AskLimiters => return permits::admit(group),
        }
    }
    admitted
}

/// Tells who has got a slot.
pub(super) fn begin(
    group: &Bound<'_, TaskGroup>,
    waiting: Waiting,
    child: Option<&Object<'_>>,
) -> PyResult<()> {
    let py = group.py();
    let none = py.None().into_bound(py);
    match waiting {
        Waiting::Parked(_) => {
            child.map_or(Ok(()), |child| task::start_parked(child.cast().map_err(PyErr::from)?))
        }
        Waiting::Postponed(_, waiter) => {
            if let Some(Ok(task)) = child.map(|child| child.cast::<Task>()) {
                task.value().stand(py, Standing::Plain);
            }
            // If it was cancelled meanwhile, it keeps the slot until it has ended.
            waiter.wake(&none).map(drop)
        }
        Waiting::Caller(waiter, _) => {
            if waiter.wake(&none)? {
                return Ok(());
            }
            group.value().state.with(py, |state| state.slots().slots.give_back());
            permits::put_back(group)
        }
    }
}

/// A child of a bounded group has ended, and has left: who is next?
pub(super) fn child_left(
    group: &Bound<'_, TaskGroup>,
    child: &Object<'_>,
    loans: Option<Loans>,
) -> PyResult<()> {
    let released = loans.map_or(Ok(()), |loans| permits::child_left(group, child, loans));
    let lent = lending::child_left(group, child);
    released.and(lent).and(admit(group))
}

/// Nobody of the line will have a slot: the group is aborted. The tasks of the line are cancelled as children.
pub(super) fn close_line(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let closed = group.value().state.with(group.py(), |state| state.bounded.as_mut().map(|it| it.close()));
    let mut cancelled = Ok(());
    for waiting in closed.iter().flatten() {
        if let Waiting::Caller(waiter, _) = waiting {
            cancelled = cancelled.and(waiter.cancel(group.py()));
        }
    }
    cancelled.and(permits::line_left(group))
}

/// A parked child was cancelled.
pub(crate) fn leave_line(group: &Object<'_>, index: u32) -> PyResult<()> {
    let group = group.cast::<TaskGroup>()?;
    let left = group.value().state.with(group.py(), |state| state.bounded.as_mut().map(|it| it.leave(index)));
    drop(left);
    permits::line_left(group)
}

/// Does the task run on a slot of the group?
pub(super) fn is_member(group: &Bound<'_, TaskGroup>, task: &Object<'_>) -> bool {
    let py = group.py();
    if group.value().state.with(py, |state| state.slots().being_made > 0) {
        // It starts eagerly.
        return true;
    }
    index_of(group, task)
        .is_some_and(|index| group.value().state.with(py, |state| state.slots().has_slot(index)))
}

/// The index of a child.
pub(super) fn index_of(group: &Bound<'_, TaskGroup>, task: &Object<'_>) -> Option<u32> {
    let py = group.py();
    match task.cast::<Task>() {
        Ok(task) => {
            let key = future::key_of_parent(Task::as_future(task), group.as_any());
            key.map(|key| Key::unpack(key).index)
        }
        Err(_) => group.value().state.with(py, |state| state.children.position(|child| child.is(task))),
    }
}

/// A child has the slot that was taken for it.
pub(super) fn hold(group: &Bound<'_, TaskGroup>, child: &Object<'_>, index: u32) {
    permits::lend(group, child, index);
    hold_borrowed(group, child, index);
}

/// A child has the slot of a member who waits for it.
pub(super) fn hold_borrowed(group: &Bound<'_, TaskGroup>, child: &Object<'_>, index: u32) {
    let py = group.py();
    group.value().state.with(py, |state| state.slots().hold(index));
    if child.cast::<Task>().is_ok_and(|task| task.value().seeks(py)) {
        // It started eagerly, and may wait for somebody of the line already.
        lending::lend_or_report(group, child);
    }
}

/// A slot was taken for a task that cannot be made.
pub(super) fn slot_unused(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let put_back = permits::put_back(group);
    put_back.and(borrowed_unused(group))
}

/// A slot was borrowed for a task that cannot be made.
pub(super) fn borrowed_unused(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    group.value().state.with(group.py(), |state| state.slots().slots.give_back());
    admit(group)
}

/// Makes a child, which may start eagerly.
pub(super) fn while_making<R>(group: &Bound<'_, TaskGroup>, make: impl FnOnce() -> R) -> R {
    let py = group.py();
    group.value().state.with(py, |state| state.slots().being_made += 1);
    let made = make();
    group.value().state.with(py, |state| state.slots().being_made -= 1);
    made
}

/// What the note on the group's error says.
pub(super) fn never_started(count: usize) -> String {
    match count {
        1 => "1 task was waiting for a slot and never started".to_owned(),
        count => format!("{count} tasks were waiting for a slot and never started"),
    }
}
