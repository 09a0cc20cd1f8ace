//! EventLoop: the ready queue, the timers, the watched descriptors, and the tasks that are pending.
//!
//! The Python face (`tonnage.EventLoop`) inherits from this class and adds what runs per loop or per
//! connection. Invariants: each field's guard is entered for moments in which no Python code runs;
//! what leaves a queue is dropped after the guard; only the loop's thread touches the reactor, all
//! others use `call_soon_threadsafe`.

mod call_args;
mod class;
mod current_task;
mod flags;
mod handle;
mod io;
mod pending;
mod ready;
mod run;
mod scheduling;
mod sources;
mod task_factory;
mod timer;
mod timer_handle;
mod turn_order;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tonnage_core::clock::CycleClock;
use tonnage_core::reactor::ring::Ring;
use tonnage_core::reactor::{Poller, Waker};
use tonnage_core::timers::{TimerKey, Timers};

pub(crate) use handle::{Handle, report_callback};
pub(crate) use ready::{DoneCallback, Ready};
pub(crate) use scheduling::methods;
pub(crate) use sources::Direction;
pub(crate) use timer::Timer;
pub(crate) use timer_handle::TimerHandle;

use crate::cpython::{Guarded, Object, Owned, native_loop, thread_id};
use crate::errors;
use crate::task::{KeptAt, Task};
use crate::transports::StreamTransport;
use flags::{Flag, Flags};
use pending::Pending;
use sources::Sources;
use task_factory::TaskFactory;
use turn_order::TurnOrder;

/// The part of the event loop that runs for every callback, task and timer.
#[pyclass(subclass, frozen, name = "EventLoop", module = "tonnage._tonnage")]
pub(crate) struct EventLoop {
    /// Bounded by what is scheduled: each entry is a pending task's step, or was put here by a user.
    ready: Guarded<VecDeque<Ready>>,
    timers: Guarded<Timers<Timer>>,
    clock: Guarded<CycleClock>,
    sources: Guarded<Sources>,
    turn_order: Guarded<TurnOrder>,
    /// Taken while the loop runs.
    poller: Guarded<Option<Poller>>,
    /// Another one after a fork; none once it is closed.
    waker: Guarded<Option<Waker>>,
    pending: Guarded<Pending>,
    /// The task of ours that runs; left lazily.
    current: Guarded<Option<Owned<Task>>>,
    task_factory: Guarded<Option<TaskFactory>>,
    /// Transports with writes that leave at the end of this turn.
    unflushed: Guarded<Vec<Owned<StreamTransport>>>,
    /// By which these leave together.
    ring: Guarded<Ring>,
    /// The thread that runs the loop; 0: none.
    thread: AtomicU64,
    /// When the network was looked at last, if somebody asks (`time_turns`); `NOT_ASKED`, `NOT_LOOKED`.
    turn_ns: AtomicU64,
    flags: Flags,
}

/// How much another thread puts into the ready queue before it gives way to the loop.
const FLOOD: usize = 1024;

/// Nobody asks when the network was looked at last: the clock is not read.
const NOT_ASKED: u64 = 0;
/// It was not looked at since somebody asks.
const NOT_LOOKED: u64 = 1;

impl EventLoop {
    /// The native loop behind `object`, if it is one whose scheduling nobody overrides.
    #[inline]
    pub(crate) fn of<'a>(object: &'a Object<'_>) -> Option<&'a Self> {
        Self::of_any(object).filter(|event_loop| event_loop.is_plain())
    }

    /// The native loop behind `object`.
    #[inline]
    pub(crate) fn of_any<'a>(object: &'a Object<'_>) -> Option<&'a Self> {
        native_loop(object).map(Bound::get)
    }

    /// As `of`, as an object.
    #[inline]
    pub(crate) fn bound<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Self>> {
        native_loop(object).filter(|event_loop| event_loop.get().is_plain())
    }

    /// Does nobody override its scheduling?
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.flags.has(Flag::Overridden)
    }

    /// The native loop behind `object`, if its time is the kernel's.
    #[inline]
    pub(crate) fn of_kernel_time<'a>(object: &'a Object<'_>) -> Option<&'a Self> {
        Self::of_any(object).filter(|event_loop| !event_loop.has_own_time())
    }

    /// Does a program tell its time?
    #[inline]
    fn has_own_time(&self) -> bool {
        self.flags.has(Flag::OwnTime)
    }

    #[inline]
    pub(crate) fn debug(&self) -> bool {
        self.flags.has(Flag::Debug)
    }

    /// May tasks and futures be made without asking Python code anything?
    #[inline]
    pub(crate) fn is_plain_and_quiet(&self) -> bool {
        !self.flags.has_any([Flag::Overridden, Flag::Debug])
    }

    /// Has the program set what makes its tasks?
    pub(crate) fn has_task_factory(&self) -> bool {
        self.flags.has(Flag::HasTaskFactory)
    }

    /// Does it run, and may a task be made without a call of `create_task` by name?
    #[inline]
    pub(crate) fn spawns_directly(&self, py: Python<'_>) -> bool {
        let others = [Flag::Overridden, Flag::Debug, Flag::Closed, Flag::HasTaskFactory, Flag::Idle];
        !self.flags.has_any(others) && self.pending.with(py, |pending| pending.is_below_bounds())
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.flags.has(Flag::Closed)
    }

    /// Notes from here on when the network was looked at last.
    #[inline]
    pub(crate) fn time_turns(&self) {
        if self.turn_ns.load(Ordering::Relaxed) == NOT_ASKED {
            self.turn_ns.store(NOT_LOOKED, Ordering::Relaxed);
        }
    }

    /// When the network was looked at last: what came from it since has waited for the loop.
    #[inline]
    pub(crate) fn turn_began_ns(&self) -> Option<u64> {
        Some(self.turn_ns.load(Ordering::Relaxed)).filter(|turn_ns| *turn_ns > NOT_LOOKED)
    }

    /// Does its run end when this turn does?
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.flags.has(Flag::Stopping)
    }

    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.thread.load(Ordering::Relaxed) != 0
    }

    /// Is this the thread that runs the loop?
    #[inline]
    pub(crate) fn is_own_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == thread_id()
    }

    /// Puts something at the end of the ready queue.
    #[inline]
    pub(crate) fn schedule(&self, py: Python<'_>, ready: Ready) -> PyResult<()> {
        if self.flags.has_any([Flag::Closed, Flag::Debug]) {
            self.check_ready()?;
        }
        self.ready.with(py, |queue| queue.push_back(ready));
        Ok(())
    }

    #[cold]
    fn check_ready(&self) -> PyResult<()> {
        if self.is_closed() {
            return Err(errors::loop_is_closed());
        }
        self.check_thread()
    }

    /// Puts the step of a task at the end of the ready queue, or hands the task back where `schedule` has something
    /// to say. Runs no Python code.
    #[inline]
    pub(crate) fn schedule_step(&self, py: Python<'_>, task: Owned<Task>) -> Result<(), Owned<Task>> {
        if !self.is_quiet() {
            return Err(task);
        }
        self.push_step(py, task);
        Ok(())
    }

    /// Has `schedule` nothing to say?
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.flags.has_any([Flag::Closed, Flag::Debug])
    }

    /// Is it quiet, and does nobody override its scheduling?
    #[inline]
    pub(crate) fn takes_steps(&self) -> bool {
        !self.flags.has_any([Flag::Overridden, Flag::Closed, Flag::Debug])
    }

    /// As `schedule_step`, on a loop that is quiet.
    #[inline(always)]
    pub(crate) fn push_step(&self, py: Python<'_>, task: Owned<Task>) {
        self.ready.with(py, |queue| queue.push_back(Ready::Step(task)));
    }

    /// As `schedule`, from any thread.
    fn schedule_threadsafe(&self, py: Python<'_>, ready: Ready) -> PyResult<()> {
        if self.is_closed() {
            return Err(errors::loop_is_closed());
        }
        let waiting = self.ready.with(py, |queue| {
            queue.push_back(ready);
            queue.len()
        });
        self.wake(py);
        if waiting.is_multiple_of(FLOOD) && !self.is_own_thread() {
            give_way(py);
        }
        Ok(())
    }

    /// Ends the wait of the loop's thread, or the next one.
    fn wake(&self, py: Python<'_>) {
        self.waker.with(py, |waker| {
            if let Some(waker) = waker {
                waker.wake();
            }
        });
    }

    #[cold]
    fn check_thread(&self) -> PyResult<()> {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 && thread != thread_id() {
            return Err(PyRuntimeError::new_err(
                "Non-thread-safe operation invoked on an event loop other than the current one",
            ));
        }
        Ok(())
    }

    /// Takes a timer out, unless it was due; the caller drops it.
    #[must_use]
    pub(crate) fn remove_timer(&self, py: Python<'_>, key: TimerKey) -> Option<Timer> {
        self.timers.with(py, |timers| timers.remove(key))
    }

    /// Keeps a pending task alive.
    #[inline(always)]
    pub(crate) fn keep(&self, py: Python<'_>, task: &Bound<'_, Task>) -> KeptAt {
        let task = Owned::from(task);
        KeptAt::of(self.pending.with(py, |pending| pending.insert(task)))
    }

    /// Keeps a new task alive, and schedules its first step.
    #[inline(always)]
    pub(crate) fn start_task(&self, py: Python<'_>, task: &Bound<'_, Task>) -> KeptAt {
        let ready = Ready::Step(task.into());
        self.ready.with(py, |queue| queue.push_back(ready));
        self.keep(py, task)
    }

    /// The task is done; the caller drops the reference.
    #[inline]
    #[must_use]
    pub(crate) fn forget(&self, py: Python<'_>, at: KeptAt) -> Option<Owned<Task>> {
        self.pending.with(py, |pending| pending.remove(at.key()))
    }

    /// Lets the transport write what it holds when this turn of the loop ends.
    pub(crate) fn flush_later(&self, py: Python<'_>, transport: Owned<StreamTransport>) {
        self.unflushed.with(py, |unflushed| unflushed.push(transport));
    }
}

/// Lets the loop have the interpreter, in a thread that floods it: to put something into the queue makes no system call
/// as a rule, as asyncio's does, in which the interpreter goes to whoever waits for it.
#[cold]
#[expect(clippy::disallowed_methods, reason = "it is not the loop's thread that sleeps")]
fn give_way(py: Python<'_>) {
    py.detach(|| std::thread::sleep(std::time::Duration::from_micros(50)));
}
