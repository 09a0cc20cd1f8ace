//! What a block has: its deadline, the task that it was entered in, its alarm, and how far it has come.

use std::mem::{self, ManuallyDrop};

use tonnage_core::clock::Moment;

use super::DeadlineBlock;
use super::expiry::Alarm;
use crate::cpython::Owned;
use crate::structured::deadline::Linked;
use crate::structured::parent::Parent;

/// In this order: what an empty field leaves unset comes last, so that a new state is written by few instructions.
#[repr(C)]
pub(super) struct State {
    pub(super) deadline: Option<Moment>,
    /// The next outer block of the task that this one was entered in.
    pub(super) outer: Option<Owned<DeadlineBlock>>,
    /// The requests to cancel that task that were open when the block was entered.
    pub(super) requests: u32,
    /// Alarms that were stopped when they stood in the ready queue already: it comes to them first.
    pub(super) stopped: u32,
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    /// The deadline has passed, but the block is in an async generator that the task is not inside of.
    pub(super) suspended: bool,
    /// Was its own cancellation swallowed?
    pub(super) caught: bool,
    /// That task, while the block is entered.
    pub(super) parent: Option<Parent>,
    pub(super) alarm: Alarm,
}

/// What a block has when it is left; `phase` is that before.
pub(super) struct Left {
    pub(super) alarm: Alarm,
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    pub(super) parent: Option<Parent>,
    pub(super) outer: Option<Owned<DeadlineBlock>>,
    pub(super) requests: u32,
}

impl State {
    pub(super) fn when(&self) -> Option<f64> {
        self.deadline.map(|deadline| deadline.seconds)
    }

    /// Of a block that was not entered before: it refers to nothing, so that nothing is dropped, and there is no code
    /// for it. The alarm is made in its place: a copy of it would wait for the writes of its parts.
    #[inline(always)]
    pub(super) fn enter(&mut self, linked: Linked, alarm: impl FnOnce() -> Alarm) {
        debug_assert!(self.refers_to_nothing());
        let Linked { parent, requests, outer } = linked;
        self.phase = Phase::Entered;
        self.requests = requests;
        let parent = self.parent.replace(parent);
        let outer = mem::replace(&mut self.outer, outer);
        let alarm = mem::replace(&mut self.alarm, alarm());
        let _nothing = ManuallyDrop::new((parent, outer, alarm));
    }

    #[inline]
    pub(super) fn refers_to_nothing(&self) -> bool {
        self.parent.is_none() && self.outer.is_none() && matches!(self.alarm, Alarm::None)
    }

    /// Lets go of all that it refers to; the caller drops it.
    #[must_use]
    pub(super) fn clear(&mut self) -> (Option<Parent>, Option<Owned<DeadlineBlock>>, Alarm) {
        (self.parent.take(), self.outer.take(), mem::replace(&mut self.alarm, Alarm::None))
    }

    #[inline(always)]
    pub(super) fn leave(&mut self) -> Left {
        let phase = self.phase;
        self.phase = match phase {
            Phase::Entered => Phase::Exited,
            Phase::Expiring => Phase::Expired,
            other => other,
        };
        Left {
            alarm: mem::replace(&mut self.alarm, Alarm::None),
            kind: self.kind,
            phase,
            parent: self.parent.take(),
            outer: self.outer.take(),
            requests: self.requests,
        }
    }
}

/// What becomes of the block's own cancellation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::structured) enum Kind {
    /// A TimeoutError.
    Timeout,
    /// Nothing: the code after the block goes on.
    MoveOn,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "Timeout",
            Self::MoveOn => "MoveOn",
        }
    }

    /// What `__aexit__` says of an error that goes on, or of none.
    pub(super) fn goes_on(self) -> Option<bool> {
        match self {
            Self::Timeout => None,
            Self::MoveOn => Some(false),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}
