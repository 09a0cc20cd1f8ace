//! Bounds: the deadlines that a task is under, and the shields that it is inside of.
//!
//! Most tasks have none, so all that belongs to it is behind one word of the task. The blocks that the task is
//! inside of are a chain: the task holds the innermost, each block the next outer one. It goes when the task
//! ends, so that a block that is never left keeps nothing alive.

use pyo3::prelude::*;

use super::Task;
use super::shields::Shields;
use crate::cpython::{Owned, Visit};
use crate::structured::DeadlineBlock;

pub(super) struct Bounds {
    innermost: Option<Owned<DeadlineBlock>>,
    /// What its creator was under when it was spawned, in the loop's time; infinity: nothing.
    inherited: f64,
    /// Nothing outside of such scopes.
    pub(super) shields: Option<Box<Shields>>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { innermost: None, inherited: f64::INFINITY, shields: None }
    }
}

impl Bounds {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.option(self.innermost.as_deref()) {
            0 => self.shields.as_ref().map_or(0, |shields| shields.traverse(visit)),
            shown => shown,
        }
    }
}

impl Task {
    /// May it be under a deadline?
    #[inline]
    pub(crate) fn is_bounded(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.bounds.is_some())
    }

    /// The innermost block with a deadline that it is inside of.
    pub(crate) fn innermost<'py>(&self, py: Python<'py>) -> Option<Bound<'py, DeadlineBlock>> {
        self.state
            .with(py, |state| state.bounds.as_ref()?.innermost.as_ref().map(|block| block.get_bound(py)))
    }

    /// Makes the block the innermost. Returns the next outer one, the depth of the scopes that the task is inside
    /// of, and how many requests to cancel it are open that these do not hold back.
    #[inline(always)]
    pub(crate) fn enter_block(
        &self,
        block: &Bound<'_, DeadlineBlock>,
    ) -> (Option<Owned<DeadlineBlock>>, u32, u32) {
        let entered = Owned::from(block);
        self.state.with(block.py(), |state| {
            let (depth, held) = state.shields().map_or((0, 0), |shields| (shields.depth(), shields.held()));
            let requests = state.cancels_requested.saturating_sub(held);
            (state.bounds().innermost.replace(entered), depth, requests)
        })
    }

    /// Takes the block out, if it is the innermost; else gives the next outer one of it back.
    #[inline(always)]
    pub(crate) fn leave_block(
        &self,
        block: &Bound<'_, DeadlineBlock>,
        outer: Option<Owned<DeadlineBlock>>,
    ) -> Result<(), Option<Owned<DeadlineBlock>>> {
        let left = self.state.with(block.py(), |state| match &mut state.bounds {
            Some(bounds) if bounds.innermost.as_ref().is_some_and(|innermost| innermost.is(block)) => {
                Ok(std::mem::replace(&mut bounds.innermost, outer))
            }
            _ => Err(outer),
        });
        left.map(drop)
    }

    /// The deadline that it inherited; infinity if none.
    pub(crate) fn inherited(&self, py: Python<'_>) -> f64 {
        self.state.with(py, |state| state.bounds.as_ref().map_or(f64::INFINITY, |bounds| bounds.inherited))
    }

    pub(crate) fn inherit(&self, py: Python<'_>, deadline: f64) {
        self.state.with(py, |state| state.bounds().inherited = deadline);
    }
}
