//! The loop itself: poll, take due timers, run what is ready.
//!
//! While work is ready, the network is polled at least every `PASSES_MAX` passes, whenever the coarse clock is seen to
//! have ticked (4 ms on most kernels) since the last poll, and in the turn after something was written or a descriptor
//! was registered: an answer may be there, for programs that give the loop few turns to hear it.

use std::sync::atomic::Ordering;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::clock;
use tonnage_core::reactor::{Fd, Poller};

use super::call_args::CallArgs;
use super::flags::Flag;
use super::scheduling::time_s;
use super::{DoneCallback, EventLoop, Handle, NOT_ASKED, Ready, handle};
use crate::cpython::{Native, Object, Owned};
use crate::event_loop::sources::{Direction, Watcher};
use crate::future::Outcome;
use crate::task::{After, InContext, Task};
use crate::transports::{StreamTransport, together};
use crate::{errors, future, limits, names, structured, task};

/// Passes over the ready queue between two polls, while there is work. A prime, so that it does not
/// fall into step with a program's own period.
const PASSES_MAX: u32 = 61;

/// Passes over the ready queue between two looks at the coarse clock, unless there are timers: then each pass looks.
const PASSES_UNTIMED: u32 = 8;

/// Places of the ready queue that are kept for the next burst.
const READY_KEPT: usize = 4096;

/// The longest wait in one go: a day, as asyncio.
const WAIT_MAX_NS: u64 = 24 * 3600 * clock::NS_PER_S;

/// When the network was looked at last.
struct Polled {
    passes: u32,
    at_coarse_ns: u64,
}

pub(super) fn run(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    slf.get().tell_on_demand(slf.as_any())?;
    let mut polled = Polled { passes: PASSES_MAX, at_coarse_ns: 0 };
    let mut in_context = None;
    let ran = loop {
        let ran = pass(slf, &mut polled, &mut in_context);
        if ran.is_err() || slf.get().flags.has(Flag::Stopping) {
            break ran;
        }
    };
    drop(in_context);
    // Also when an exception leaves the loop: what was written before it is sent.
    let ended = slf.get().end_turn(slf.as_any());
    ran.and(ended)
}

pub(super) fn run_once(slf: &Bound<'_, EventLoop>) -> PyResult<()> {
    let ran = pass(slf, &mut Polled { passes: PASSES_MAX, at_coarse_ns: 0 }, &mut None);
    let ended = slf.get().end_turn(slf.as_any());
    ran.and(ended)
}

#[inline(always)]
fn pass<'py>(
    slf: &Bound<'py, EventLoop>,
    polled: &mut Polled,
    in_context: &mut InContext<'py>,
) -> PyResult<()> {
    let py = slf.py();
    let event_loop = slf.get();
    let mut count = event_loop.ready.with(py, |queue| queue.len());
    let timed = polled.passes.is_multiple_of(PASSES_UNTIMED)
        || event_loop.timers.with(py, |timers| !timers.is_empty());
    let mut coarse_ns = if timed { clock::coarse_ns() } else { polled.at_coarse_ns };
    if count == 0
        || polled.passes >= PASSES_MAX
        || event_loop.flags.has(Flag::PollsNext)
        || coarse_ns != polled.at_coarse_ns
    {
        drop(in_context.take());
        event_loop.poll(slf, count > 0)?;
        coarse_ns = clock::coarse_ns();
        *polled = Polled { passes: 0, at_coarse_ns: coarse_ns };
        count = event_loop.ready.with(py, |queue| queue.len());
    }
    polled.passes += 1;
    let next_ns = event_loop.timers.with(py, |timers| timers.peek());
    if next_ns.is_some_and(|next_ns| event_loop.has_own_time() || !clock::is_far(next_ns, coarse_ns)) {
        if event_loop.has_own_time() {
            // It is asked by no task, and in no task's context.
            drop(in_context.take());
            event_loop.leave_task(slf.as_any())?;
        }
        event_loop.take_due_timers(slf)?;
        count = event_loop.ready.with(py, |queue| queue.len());
    }
    for _ in 0..count {
        let Some(ready) = event_loop.ready.with(py, std::collections::VecDeque::pop_front) else { break };
        match ready {
            Ready::Step(task) if !event_loop.debug() => step(slf, task, in_context)?,
            ready => {
                drop(in_context.take());
                event_loop.execute(slf, ready)?;
            }
        }
    }
    if event_loop.has_unflushed(py) {
        drop(in_context.take());
        event_loop.flush_all(slf.as_any())?;
    }
    Ok(())
}

/// Runs the next step of a task.
#[inline(always)]
fn step<'py>(
    slf: &Bound<'py, EventLoop>,
    task: Owned<Task>,
    in_context: &mut InContext<'py>,
) -> PyResult<()> {
    let task = task.into_bound(slf.py());
    let failed = match task::step_on(&task, slf, in_context) {
        Ok(After::Rests) => return Ok(()),
        Ok(After::GoesOn) if slf.get().takes_steps() => {
            // The reference goes from one step to the next.
            slf.get().push_step(slf.py(), task.into());
            return Ok(());
        }
        Ok(After::GoesOn) => match task::go_on(&task, slf) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        Err(error) => *error,
    };
    drop(in_context.take());
    step_failed(slf.as_any(), &task, failed)
}

impl EventLoop {
    /// What must be true whenever the loop's thread does something else than running callbacks.
    fn end_turn(&self, slf: &Object<'_>) -> PyResult<()> {
        self.leave_task(slf)?;
        self.flush(slf)
    }

    /// Looks at the network, and waits for it if there is nothing to do.
    fn poll(&self, slf: &Bound<'_, EventLoop>, has_work: bool) -> PyResult<()> {
        let py = slf.py();
        self.leave_task(slf.as_any())?;
        self.flags.set(Flag::PollsNext, false);
        // A signal that came while no bytecode ran would not end the wait: its handler runs now.
        py.check_signals()?;
        let stopping = self.flags.has(Flag::Stopping);
        let has_work = has_work || self.ready.with(py, |queue| !queue.is_empty());
        let timeout_ns = if has_work || stopping { Some(0) } else { self.until_next_timer(slf)? };
        // The memory of a burst goes back.
        self.ready.with(py, |queue| {
            if queue.capacity() > READY_KEPT && queue.len() < queue.capacity() / 8 {
                queue.shrink_to(READY_KEPT);
            }
        });
        let Some(mut poller) = self.poller.with(py, Option::take) else {
            return Err(errors::lost_reactor());
        };
        let waited = py.detach(|| poller.wait(timeout_ns));
        if self.turn_ns.load(Ordering::Relaxed) != NOT_ASKED {
            self.turn_ns.store(clock::now_ns(), Ordering::Relaxed);
        }
        let collected = waited.map_err(errors::os_error).map(|_| self.collect(py, &poller));
        // A callback may have closed the loop, but not while the poller was ours: nothing ran.
        drop(self.poller.with(py, |slot| slot.replace(poller)));
        for (fd, direction, handle) in collected? {
            self.unwatch_handle(py, (fd, direction), handle.bind(py))?;
        }
        py.check_signals()
    }

    fn until_next_timer(&self, slf: &Bound<'_, EventLoop>) -> PyResult<Option<u64>> {
        let Some(deadline) = self.timers.with(slf.py(), |timers| timers.peek()) else { return Ok(None) };
        Ok(Some(deadline.saturating_sub(self.timers_ns(slf)?).min(WAIT_MAX_NS)))
    }

    /// The time by which timers are due. What a program tells was not counted in nanoseconds: a sum that is rounded up is due.
    fn timers_ns(&self, slf: &Bound<'_, EventLoop>) -> PyResult<u64> {
        if !self.has_own_time() {
            return Ok(clock::now_ns());
        }
        Ok(clock::deadline_ns(time_s(slf)?).saturating_add(1))
    }

    /// Puts those who waited for the events into the ready queue: readers before writers. Returns the handles that were
    /// cancelled, and would be told again and again.
    fn collect(&self, py: Python<'_>, poller: &Poller) -> Vec<(Fd, Direction, Owned<Handle>)> {
        let (mut cancelled, mut receivers) = (vec![], 0);
        for event in poller.events() {
            let (reader, writer) = self.sources.with(py, |sources| sources.told(py, event));
            for (watcher, direction) in [(reader, Direction::Read), (writer, Direction::Write)] {
                let ready = match watcher {
                    None => continue,
                    Some(Watcher::Handle(handle)) if handle.bind(py).value().is_cancelled(py) => {
                        cancelled.push((event.fd, direction, handle));
                        continue;
                    }
                    Some(Watcher::Handle(handle)) => Ready::Handle(handle),
                    Some(Watcher::Future(future)) => {
                        receivers += usize::from(direction == Direction::Read);
                        Ready::Wake(future)
                    }
                    Some(Watcher::Transport(transport)) => match direction {
                        Direction::Read => Ready::Readable(transport),
                        Direction::Write => Ready::Writable(transport),
                    },
                };
                self.ready.with(py, |queue| queue.push_back(ready));
            }
        }
        self.expect_receives(py, receivers);
        cancelled
    }

    fn take_due_timers(&self, slf: &Bound<'_, EventLoop>) -> PyResult<()> {
        let (py, now_ns) = (slf.py(), self.timers_ns(slf)?);
        while let Some(timer) = self.timers.with(py, |timers| timers.pop_due(now_ns)) {
            let ready = timer.ready(py);
            self.ready.with(py, |queue| queue.push_back(ready));
        }
        Ok(())
    }

    /// Runs one ready thing. Only what must leave the loop comes back as an error.
    #[inline(always)]
    fn execute<'py>(&self, slf: &Bound<'py, EventLoop>, ready: Ready) -> PyResult<()> {
        if self.debug() { self.execute_watched(slf, ready) } else { self.execute_unwatched(slf, ready) }
    }

    #[inline(always)]
    fn execute_unwatched<'py>(&self, slf: &Bound<'py, EventLoop>, ready: Ready) -> PyResult<()> {
        let py = slf.py();
        match ready {
            Ready::Step(task) => step(slf, task, &mut None),
            Ready::Handle(handle) => {
                let handle = handle.into_bound(py);
                if handle::run_set_result(&handle, slf.as_any())? {
                    return Ok(());
                }
                self.leave_task(slf.as_any())?;
                handle::run(&handle)
            }
            Ready::Callback(done) => {
                let DoneCallback { callback, future, context } = *done;
                self.leave_task(slf.as_any())?;
                let callback = callback.into_bound(py);
                let future = future.into_bound(py).into_any();
                let context = context.into_bound(py);
                match future::run_callback(&callback, &future, &context) {
                    Ok(()) => Ok(()),
                    Err(error) if errors::is_exit(py, &error) => Err(error),
                    Err(error) => handle::report_callback(slf.as_any(), callback, future, (context, error)),
                }
            }
            Ready::Wake(future) => {
                let none = Outcome::Result(py.None().into_bound(py).into());
                future::settle(future.bind(py), none).map(drop)
            }
            Ready::Expire(timeout) => {
                self.leave_task(slf.as_any())?;
                let timeout = timeout.into_bound(py);
                match structured::expire(&timeout) {
                    Err(error) if !errors::is_exit(py, &error) => {
                        let what = format!("Exception in the expiry of {}", timeout.repr()?);
                        report_failure(slf.as_any(), what, error)
                    }
                    expired => expired,
                }
            }
            Ready::Serve(limiter) => {
                self.leave_task(slf.as_any())?;
                let limiter = limiter.into_bound(py);
                match limits::on_time(&limiter) {
                    Err(error) if !errors::is_exit(py, &error) => {
                        let what = format!("Exception while serving those who wait for {}", limiter.repr()?);
                        report_failure(slf.as_any(), what, error)
                    }
                    served => served,
                }
            }
            Ready::Begin(transport) => self.advance(slf, transport, StreamTransport::begin),
            Ready::Start(transport) => self.advance(slf, transport, StreamTransport::start),
            Ready::End(transport) => self.advance(slf, transport, StreamTransport::end),
            Ready::Readable(transport) => {
                self.leave_task(slf.as_any())?;
                transport.readable(py)
            }
            Ready::Writable(transport) => {
                self.leave_task(slf.as_any())?;
                transport.writable(py)
            }
        }
    }

    /// Takes a transport one step further in its life.
    fn advance<'py>(
        &self,
        slf: &Bound<'py, EventLoop>,
        transport: Owned<StreamTransport>,
        step: impl FnOnce(&Bound<'py, StreamTransport>) -> PyResult<()>,
    ) -> PyResult<()> {
        self.leave_task(slf.as_any())?;
        step(&transport.into_bound(slf.py()))
    }

    /// As `execute`, in debug mode: names what took long.
    #[cold]
    fn execute_watched(&self, slf: &Bound<'_, EventLoop>, ready: Ready) -> PyResult<()> {
        let py = slf.py();
        let event_loop = slf.as_any();
        let what = self.describe(event_loop, &ready)?;
        let began_s = time_s(slf)?;
        if let Ok(handle) = what.cast::<Handle>() {
            event_loop.setattr("_current_handle", handle)?;
        }
        let ran = self.execute_unwatched(slf, ready);
        event_loop.setattr("_current_handle", py.None())?;
        ran?;
        let took_s = time_s(slf)? - began_s;
        let bound_s: f64 = event_loop.getattr(names::slow_callback_duration(py))?.extract()?;
        if took_s >= bound_s {
            let text =
                if what.is_instance_of::<pyo3::types::PyString>() { what } else { what.repr()?.into_any() };
            let message = "Executing %s took %.3f seconds";
            names::loop_logger(py)?.call_method1(names::warning(py), (message, text, took_s))?;
        }
        Ok(())
    }

    /// The object by which the debug log names a ready thing.
    fn describe<'py>(&self, slf: &Object<'py>, ready: &Ready) -> PyResult<Object<'py>> {
        let py = slf.py();
        Ok(match ready {
            Ready::Step(task) => task.bind(py).clone().into_any(),
            Ready::Handle(handle) => handle.bind(py).clone().into_any(),
            Ready::Callback(done) => {
                let args = CallArgs::One(done.future.bind(py).clone().into_any().into());
                let context = Some(done.context.get_bound(py));
                Handle::create(slf, done.callback.get_bound(py), args, context)?.into_any()
            }
            Ready::Wake(future) => future.bind(py).clone().into_any(),
            Ready::Expire(timeout) => timeout.bind(py).clone().into_any(),
            Ready::Serve(limiter) => limiter.bind(py).clone().into_any(),
            Ready::Begin(transport) | Ready::Start(transport) | Ready::End(transport) => {
                transport.bind(py).clone().into_any()
            }
            Ready::Readable(transport) | Ready::Writable(transport) => transport.as_object(py),
        })
    }

    /// Were transports given something to send during this turn?
    #[inline]
    fn has_unflushed(&self, py: Python<'_>) -> bool {
        self.unflushed.with(py, |unflushed| !unflushed.is_empty())
    }

    /// Sends what the transports were given.
    fn flush(&self, slf: &Object<'_>) -> PyResult<()> {
        if self.has_unflushed(slf.py()) { self.flush_all(slf) } else { Ok(()) }
    }

    /// A protocol that is told of something meanwhile may write to others: these are flushed as well, because
    /// nothing else would wake the loop for them.
    fn flush_all(&self, slf: &Object<'_>) -> PyResult<()> {
        let py = slf.py();
        self.leave_task(slf)?;
        self.flags.set(Flag::PollsNext, true);
        let mut flushed = Ok(());
        loop {
            let transports = self.unflushed.with(py, std::mem::take);
            if transports.is_empty() {
                return flushed;
            }
            flushed = flushed.and(together::flush(py, &self.ring, &transports));
        }
    }
}

/// Tells the exception handler of a timeout that could not cancel its task, or the like.
#[cold]
fn report_failure(event_loop: &Object<'_>, message: String, error: PyErr) -> PyResult<()> {
    let py = event_loop.py();
    let details = PyDict::new(py);
    details.set_item("message", message)?;
    details.set_item("exception", error.into_value(py))?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}

/// Tells the exception handler of a step that failed outside the coroutine, as when what the task waits
/// for refuses to be cancelled; what must leave the loop leaves it.
#[cold]
fn step_failed(event_loop: &Object<'_>, task: &Bound<'_, Task>, error: PyErr) -> PyResult<()> {
    let py = event_loop.py();
    if errors::is_exit(py, &error) {
        return Err(error);
    }
    let details = PyDict::new(py);
    details.set_item("message", "Exception in a step of a task")?;
    details.set_item("exception", error.into_value(py))?;
    details.set_item("task", task)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
