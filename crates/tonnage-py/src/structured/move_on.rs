//! MoveOn: a block whose deadline cancels it, and after which the task goes on.

use std::ffi::CStr;

use pyo3::prelude::*;
use tonnage_core::clock::Moment;

use super::deadline_block::{self, DeadlineBlock, Kind, moment_or_none, seconds_or_none};
use crate::cpython::native_class::create;
use crate::cpython::{Native, NativeClass, Object, PlainDrop, Slots, Visit};
use crate::future::to_bool;

#[repr(C)]
pub(crate) struct MoveOn {
    pub(crate) block: DeadlineBlock,
}

impl MoveOn {
    fn create(py: Python<'_>, deadline: Option<Moment>) -> PyResult<Object<'_>> {
        Ok(create(py, Self { block: DeadlineBlock::new(Kind::MoveOn, deadline) })?.into_any())
    }
}

/// `move_on_after(delay)`.
pub(super) fn move_on_after<'py>(delay: &Object<'py>) -> PyResult<Object<'py>> {
    MoveOn::create(delay.py(), deadline_block::after(delay.py(), seconds_or_none(delay)?)?)
}

/// `move_on_at(when)`.
pub(super) fn move_on_at<'py>(when: &Object<'py>) -> PyResult<Object<'py>> {
    MoveOn::create(when.py(), moment_or_none(when)?)
}

impl deadline_block::Class for MoveOn {
    const RESCHEDULE: &'static str = "MoveOn.reschedule";
}

impl NativeClass for MoveOn {
    const NAME: &'static CStr = c"tonnage.MoveOn";
    const DOC: &'static CStr =
        c"Cancel what runs in an `async with` block when a deadline passes, and go on after it.";
    const PLAIN_DROP: PlainDrop = PlainDrop::NotAtAll;

    fn empty() -> Option<Self> {
        None
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        self.block.is_link(py)
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.block.is_spent(py)
    }

    fn slots(slots: &mut Slots<Self>) {
        deadline_block::methods(slots);
        slots.property(
            c"cancelled_caught",
            c"Was the block left early because its deadline passed?",
            |this| Ok(to_bool(this.py(), this.value().block.has_caught(this.py()))),
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.block.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.block.clear(py);
    }
}
