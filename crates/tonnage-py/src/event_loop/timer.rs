//! What stands in the loop's timers: the closed list of things that happen at a time.

use pyo3::Python;

use super::{Ready, TimerHandle};
use crate::cpython::{Native, Owned, Visit};
use crate::future::Future;
use crate::limits::Limiter;
use crate::structured::DeadlineBlock;

pub(crate) enum Timer {
    /// A callback of `call_later` or `call_at`.
    Handle(Owned<TimerHandle>),
    /// A future that a coroutine of ours waits for: its result is set to None.
    Wake(Owned<Future>),
    /// A timeout that a block runs under.
    Expire(Owned<DeadlineBlock>),
    /// A limiter, when those who wait for it are to be served.
    Serve(Owned<Limiter>),
}

impl Timer {
    /// It is due: what the loop has to run.
    pub(super) fn ready(self, py: Python<'_>) -> Ready {
        match self {
            Self::Handle(timer) => {
                let timer = timer.into_bound(py);
                timer.value().key.with(py, |key| *key = None);
                Ready::Handle(Owned::from(TimerHandle::as_handle(&timer)))
            }
            Self::Wake(future) => Ready::Wake(future),
            Self::Expire(timeout) => Ready::Expire(timeout),
            Self::Serve(limiter) => Ready::Serve(limiter),
        }
    }

    /// It was taken out before it was due, as most timeouts are.
    #[inline]
    pub(crate) fn let_go(self) {
        match self {
            Self::Expire(timeout) => drop(timeout),
            other => drop_other(other),
        }
    }

    /// The loop is closed, and it will never be due.
    pub(super) fn forget(&self, py: Python<'_>) {
        if let Self::Handle(timer) = self {
            timer.value().key.with(py, |key| *key = None);
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Handle(timer) => visit.call(timer),
            Self::Wake(future) => visit.call(future),
            Self::Expire(timeout) => visit.call(timeout),
            Self::Serve(limiter) => visit.call(limiter),
        }
    }
}

#[cold]
#[inline(never)]
fn drop_other(timer: Timer) {
    drop(timer);
}
