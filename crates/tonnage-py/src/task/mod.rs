//! Task: a coroutine that the loop drives, and the future of its result.
//!
//! Invariants: a task is scheduled at most once at a time (it waits for one future, or stands in the
//! ready queue, or runs); a pending task of one of our loops is kept alive by that loop; its
//! coroutine is never resumed while its state is entered.

mod awaited;
mod bounds;
mod cancel;
mod class;
mod finalizer;
mod parked;
mod repr;
mod shields;
mod step;
mod wakeup;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;

pub(crate) use cancel::{cancel, cancel_any, cancel_gather, deliver_deferred};
pub(crate) use class::{TaskOptions, check_coroutine, create_native, create_plain};
pub(crate) use parked::{
    Parking, Standing, create_parked, create_parked_plain, end_parked, move_parked, refuse_parked,
    start_parked,
};
pub(crate) use shields::Deferred;
pub(crate) use step::{After, InContext, call_soon as step_soon, go_on, step, step_on};
pub(crate) use wakeup::TaskWakeup;

use crate::cpython::{Guarded, Native, Object, Owned, native_class};
use crate::event_loop::EventLoop;
use crate::future::Future;
use crate::names;
use bounds::Bounds;

#[repr(C)]
pub(crate) struct Task {
    pub(crate) future: Future,
    pub(crate) state: Guarded<TaskState>,
}

pub(crate) struct TaskState {
    pub(crate) coro: Option<Owned>,
    pub(crate) context: Option<Owned>,
    /// What it waits for; the group, while it is parked.
    pub(crate) waiter: Option<Owned>,
    /// Few tasks have any.
    bounds: Option<Box<Bounds>>,
    /// Its name, unless it was given one: formatted when somebody asks.
    pub(crate) number: u32,
    pub(crate) cancels_requested: u32,
    /// Where the loop keeps it while it is pending; the group, while it is parked.
    pub(crate) kept_at: Option<KeptAt>,
    pub(crate) must_cancel: bool,
    pub(crate) log_destroy_pending: bool,
    pub(crate) standing: Standing,
}

impl TaskState {
    const fn empty() -> Self {
        Self {
            coro: None,
            context: None,
            waiter: None,
            bounds: None,
            number: 0,
            cancels_requested: 0,
            kept_at: None,
            must_cancel: false,
            log_destroy_pending: true,
            standing: Standing::Plain,
        }
    }

    fn bounds(&mut self) -> &mut Bounds {
        self.bounds.get_or_insert_default()
    }
}

/// A place in the table of who keeps the task.
#[derive(Clone, Copy)]
pub(crate) struct KeptAt(NonZeroU32);

impl KeptAt {
    #[inline]
    pub(crate) fn of(key: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(key))
    }

    #[inline]
    pub(crate) fn key(self) -> u32 {
        self.0.get() - 1
    }
}

/// Wraps after four billion tasks; a number is a name for people, and no identity.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// Under the interpreter's lock, so that it needs no locked instruction, which costs as much as thirty others.
fn next_number(_py: Python<'_>) -> u32 {
    let number = NUMBERS.load(Ordering::Relaxed).wrapping_add(1);
    NUMBERS.store(number, Ordering::Relaxed);
    number
}

impl Task {
    fn empty() -> Self {
        Self { future: Future::empty(), state: Guarded::new(TaskState::empty()) }
    }

    pub(crate) fn context<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.context.as_ref().map(|context| context.get_bound(py)))
    }

    /// The future that it waits for, unless it runs or is about to.
    pub(crate) fn awaits<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.waiter.as_ref().map(|waiter| waiter.get_bound(py)))
    }

    /// How many requests to cancel it are open.
    #[inline]
    pub(crate) fn cancelling(&self, py: Python<'_>) -> u32 {
        self.state.with(py, |state| state.cancels_requested)
    }

    /// Was it asked to cancel, and has not met what it could raise it in?
    pub(crate) fn is_cancel_due(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.must_cancel)
    }

    /// Takes one request to cancel it back, and returns how many are left.
    #[inline]
    pub(crate) fn uncancel(&self, py: Python<'_>) -> u32 {
        let (requests, gone) = self.state.with(py, |state| {
            if state.cancels_requested > 0 {
                state.cancels_requested -= 1;
                if state.cancels_requested == 0 {
                    state.must_cancel = false;
                }
            }
            let requests = state.cancels_requested;
            (requests, state.shields_mut().map(|shields| shields.take_back(requests)))
        });
        drop(gone);
        requests
    }

    /// The task as the future that it is.
    pub(crate) fn as_future<'a, 'py>(task: &'a Bound<'py, Self>) -> &'a Bound<'py, Future> {
        native_class::upcast(task)
    }

    /// Keeps the task alive and listed while it is pending.
    fn register(task: &Bound<'_, Self>, event_loop: &Object<'_>) -> PyResult<()> {
        let py = task.py();
        match EventLoop::of(event_loop) {
            Some(native) => {
                let at = native.keep(py, task);
                task.value().state.with(py, |state| state.kept_at = Some(at));
                Ok(())
            }
            None => names::register_task(py)?.call1((task,)).map(drop),
        }
    }
}
