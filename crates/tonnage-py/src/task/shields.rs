//! Shields: the scopes of `shield_scope` that a task is inside of, and the cancels that they defer.
//!
//! Scopes have depths that grow inwards, and whoever cancels the task does so from a depth: 0 from outside, and
//! a block from that of the innermost scope that it was entered in. A cancel is held by the outermost scope
//! that is deeper than it and whose time is not over, and goes on from there when that scope ends. So a block
//! inside a scope cancels what runs in it. An inner scope ends no later than an outer one.

use pyo3::prelude::*;

use super::{Task, TaskState};
use crate::cpython::{Owned, Visit};
use crate::structured::ShieldScope;

#[derive(Default)]
pub(super) struct Shields {
    /// Outermost first.
    scopes: Vec<Shield>,
    /// The depth from which the task is being cancelled at the moment.
    asking: u32,
}

struct Shield {
    scope: Owned<ShieldScope>,
    depth: u32,
    /// In the loop's time.
    until: f64,
    is_over: bool,
    /// The requests that were open, and not held back, when the scope was entered.
    open: u32,
    held: Option<Deferred>,
}

/// Requests to cancel a task that wait for the end of a scope.
pub(crate) struct Deferred {
    /// The outermost depth that one of them came from.
    pub(crate) depth: u32,
    pub(crate) requests: u32,
    pub(crate) message: Option<Owned>,
}

/// What a task has to say of a scope that it enters.
pub(crate) struct Entered {
    pub(crate) depth: u32,
    /// An outer scope may end before.
    pub(crate) until: f64,
    /// It holds a cancel already: one that was on its way.
    pub(crate) holds: bool,
}

impl Shields {
    pub(super) fn depth(&self) -> u32 {
        self.scopes.last().map_or(0, |shield| shield.depth)
    }

    /// How many requests are held back.
    pub(super) fn held(&self) -> u32 {
        self.scopes.iter().filter_map(|shield| shield.held.as_ref()).map(|held| held.requests).sum()
    }

    /// Gives the requests to the scope that defers them, or back if there is none. Returns that scope, and what it
    /// need not keep.
    fn hold(
        &mut self,
        deferred: Deferred,
        now: f64,
    ) -> Result<(&Owned<ShieldScope>, Option<Owned>), Deferred> {
        let defers =
            |shield: &&mut Shield| shield.depth > deferred.depth && !shield.is_over && now < shield.until;
        let Some(shield) = self.scopes.iter_mut().find(defers) else { return Err(deferred) };
        let Deferred { depth, requests, message } = deferred;
        let old = match &mut shield.held {
            None => {
                shield.held = Some(Deferred { depth, requests, message });
                None
            }
            Some(held) => {
                held.depth = held.depth.min(depth);
                held.requests = held.requests.saturating_add(requests);
                std::mem::replace(&mut held.message, message)
            }
        };
        Ok((&shield.scope, old))
    }

    /// One request was taken back, and `requests` are left: those that were held last are no more, if the count is
    /// what it was without them. Returns what is to be dropped.
    pub(super) fn take_back(&mut self, requests: u32) -> Vec<Deferred> {
        let mut gone = vec![];
        for shield in &mut self.scopes {
            let left = requests.saturating_sub(shield.open);
            match &mut shield.held {
                Some(held) if left > 0 => held.requests = held.requests.min(left),
                held => {
                    gone.extend(held.take());
                    shield.open = shield.open.min(requests);
                }
            }
        }
        gone
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let of_shield = |shield: &Shield| match visit.call(&shield.scope) {
            0 => visit.option(shield.held.as_ref().and_then(|held| held.message.as_deref())),
            shown => shown,
        };
        self.scopes.iter().map(of_shield).find(|shown| *shown != 0).unwrap_or(0)
    }
}

impl TaskState {
    pub(super) fn shields(&self) -> Option<&Shields> {
        self.bounds.as_ref()?.shields.as_deref()
    }

    pub(super) fn shields_mut(&mut self) -> Option<&mut Shields> {
        self.bounds.as_mut()?.shields.as_deref_mut()
    }
}

impl Task {
    #[inline]
    pub(crate) fn is_shielded(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.shields().is_some())
    }

    /// The depth of the innermost scope that it is inside of; 0 if there is none.
    #[inline]
    pub(crate) fn shield_depth(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.shields().map_or(0, Shields::depth))
    }

    /// How many requests to cancel it are held back.
    #[inline]
    pub(crate) fn cancels_held(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.shields().map_or(0, Shields::held))
    }

    /// How many requests to cancel it are open that are not held back.
    #[inline]
    pub(crate) fn cancelling_now(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| {
            let held = state.shields().map_or(0, Shields::held);
            state.cancels_requested.saturating_sub(held)
        })
    }

    /// Enters a scope at the time `now`. A cancel that was on its way to the task is held.
    pub(crate) fn enter_shield(
        &self,
        py: Python<'_>,
        scope: Owned<ShieldScope>,
        (now, until): (f64, f64),
    ) -> Entered {
        self.state.with(py, |state| {
            let requests = state.cancels_requested;
            let shields = state.bounds().shields.get_or_insert_default();
            let until = shields.scopes.last().map_or(until, |outer| until.min(outer.until));
            let depth = shields.depth() + 1;
            let open = requests.saturating_sub(shields.held());
            shields.scopes.push(Shield { scope, depth, until, is_over: false, open, held: None });
            let holds = state.must_cancel && now < until;
            if holds {
                state.must_cancel = false;
                let message = self.cancel_message(py);
                if let Some(shield) = state.shields_mut().and_then(|shields| shields.scopes.last_mut()) {
                    shield.held = Some(Deferred { depth: depth - 1, requests: open, message });
                    // Which of the requests were delivered before, nobody knows.
                    shield.open = 0;
                }
            }
            Entered { depth, until, holds }
        })
    }

    /// Leaves a scope, and returns the cancels that it deferred.
    pub(crate) fn leave_shield(&self, py: Python<'_>, depth: u32) -> Option<Deferred> {
        let left = self.state.with(py, |state| {
            let bounds = state.bounds.as_mut()?;
            let shields = bounds.shields.as_mut()?;
            let place = shields.scopes.iter().position(|shield| shield.depth == depth)?;
            let left = shields.scopes.remove(place);
            if shields.scopes.is_empty() {
                bounds.shields = None;
            }
            Some(left)
        });
        left.and_then(|shield| shield.held)
    }

    /// The time of a scope is over, and so is that of all inner ones. Returns the cancels that it deferred.
    pub(crate) fn end_shield(&self, py: Python<'_>, depth: u32) -> Option<Deferred> {
        self.state.with(py, |state| {
            let inner = state.shields_mut()?.scopes.iter_mut().filter(|shield| shield.depth >= depth);
            inner.fold(None, |held, shield| {
                shield.is_over = true;
                if shield.depth == depth { shield.held.take() } else { held }
            })
        })
    }

    /// Has the scope that defers the requests hold them, and returns it; if there is none, they are given back.
    pub(crate) fn hold<'py>(
        &self,
        py: Python<'py>,
        deferred: Deferred,
        now: f64,
    ) -> Result<Bound<'py, ShieldScope>, Deferred> {
        let held = self.state.with(py, |state| match state.shields_mut() {
            Some(shields) => shields.hold(deferred, now).map(|(scope, old)| (scope.get_bound(py), old)),
            None => Err(deferred),
        });
        held.map(|(scope, old)| {
            drop(old);
            scope
        })
    }

    /// The depth from which it is being cancelled at the moment.
    pub(crate) fn asking(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.shields().map_or(0, |shields| shields.asking))
    }

    /// Changes that, and returns what it was.
    pub(crate) fn ask_from(&self, py: Python<'_>, depth: u32) -> u32 {
        self.state.with(py, |state| {
            state.shields_mut().map_or(0, |shields| std::mem::replace(&mut shields.asking, depth))
        })
    }

    /// The depth from which the newest of the `open` requests came at the latest, which a block at `depth` has met:
    /// it came from outside of those scopes that were entered when as many were open.
    pub(crate) fn asked_from(&self, py: Python<'_>, open: u32, depth: u32) -> u32 {
        self.state.with(py, |state| {
            let scopes = state.shields().map_or(&[][..], |shields| &shields.scopes);
            let outer = scopes.iter().rev().filter(|shield| shield.depth <= depth);
            let newer = outer.take_while(|shield| open <= shield.open).last();
            newer.map_or(depth, |shield| shield.depth - 1)
        })
    }

    /// When a cancel from `depth` is delivered at the latest, as far as scopes defer it.
    pub(crate) fn shielded_until(&self, py: Python<'_>, depth: u32) -> f64 {
        self.state.with(py, |state| {
            let scopes = state.shields().map_or(&[][..], |shields| &shields.scopes);
            let deeper = scopes.iter().filter(|shield| shield.depth > depth);
            deeper.fold(f64::NEG_INFINITY, |until, shield| until.max(shield.until))
        })
    }
}
