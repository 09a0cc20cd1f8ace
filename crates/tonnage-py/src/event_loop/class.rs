//! The methods of the loop that Python calls.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PySet, PyString, PyTuple, PyType};
use tonnage_core::clock::CycleClock;
use tonnage_core::reactor::Reactor;
use tonnage_core::reactor::ring::Ring;
use tonnage_core::timers::Timers;

use super::current_task;
use super::flags::{Flag, Flags};
use super::pending::Pending;
use super::sources::Sources;
use super::task_factory::TaskFactory;
use super::turn_order::TurnOrder;
use super::{EventLoop, NOT_ASKED, VecDeque};
use crate::cpython::{Guarded, Native, Object, Visit, native_class};
use crate::transports::StreamTransport;
use crate::{errors, names, running};

/// The methods that we call without a look-up by name, unless they are overridden, and `__hash__`, by which we
/// learn who asks for the current task. The names are interned: CPython's cache of methods would keep each new
/// string.
fn called_directly(py: Python<'_>) -> [&Bound<'_, PyString>; 6] {
    [
        names::time(py),
        names::call_soon(py),
        names::call_later(py),
        names::call_at(py),
        names::create_task(py),
        names::__hash__(py),
    ]
}

/// What is true of a loop whose class overrides a method that we call without a look-up by name, or has it as an
/// attribute of its own.
fn note_overridden(flags: &Flags, name: &Bound<'_, PyString>) {
    flags.set(Flag::Overridden, true);
    if name.is(names::time(name.py())) {
        flags.set(Flag::OwnTime, true);
    }
}

fn note_class(flags: &Flags, class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    let own = py.get_type::<EventLoop>();
    for name in called_directly(py) {
        if !class.getattr(name)?.is(&own.getattr(name)?) {
            note_overridden(flags, name);
        }
    }
    Ok(())
}

#[pymethods]
impl EventLoop {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let reactor = Reactor::new().map_err(errors::os_error)?;
        let flags = Flags::none();
        note_class(&flags, class)?;
        flags.set(Flag::TellsTask, current_task::tells_always(&flags));
        flags.set(Flag::Idle, true);
        Ok(Self {
            ready: Guarded::new(VecDeque::new()),
            timers: Guarded::new(Timers::new()),
            clock: Guarded::new(CycleClock::default()),
            waker: Guarded::new(Some(reactor.waker())),
            sources: Guarded::new(Sources::new(reactor.registry)),
            turn_order: Guarded::new(TurnOrder::default()),
            poller: Guarded::new(Some(reactor.poller)),
            pending: Guarded::new(Pending::new()),
            current: Guarded::new(None),
            task_factory: Guarded::new(None),
            unflushed: Guarded::new(vec![]),
            ring: Guarded::new(Ring::unopened()),
            thread: AtomicU64::new(0),
            turn_ns: AtomicU64::new(NOT_ASKED),
            flags,
        })
    }

    /// Return what `object.__hash__()` returns.
    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<isize> {
        slf.get().tell_who_asks(slf.as_any())
    }

    /// Set what `create_task()` makes tasks with; None is tonnage's own Task.
    #[pyo3(signature = (factory))]
    fn set_task_factory(&self, py: Python<'_>, factory: Option<Object<'_>>) -> PyResult<()> {
        if factory.as_ref().is_some_and(|factory| !factory.is_callable()) {
            return Err(PyTypeError::new_err("task factory must be a callable or None"));
        }
        self.store_task_factory(py, factory)
    }

    /// Return what was set with `set_task_factory()`, or None.
    fn get_task_factory<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.task_factory.with(py, |factory| factory.as_ref().map(|factory| factory.callable(py)))
    }

    #[getter(_task_factory)]
    fn task_factory_attribute<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.get_task_factory(py)
    }

    #[setter(_task_factory)]
    fn store_task_factory(&self, py: Python<'_>, factory: Option<Object<'_>>) -> PyResult<()> {
        let factory = factory.map(TaskFactory::new).transpose()?;
        self.flags.set(Flag::HasTaskFactory, factory.is_some());
        drop(self.task_factory.with(py, |slot| mem::replace(slot, factory)));
        Ok(())
    }

    /// Return True if the loop is running.
    #[pyo3(name = "is_running")]
    fn is_running_method(&self) -> bool {
        self.is_running()
    }

    /// Return True if the loop was closed.
    #[pyo3(name = "is_closed")]
    fn is_closed_method(&self) -> bool {
        self.is_closed()
    }

    /// Have the loop return at the end of its turn.
    fn stop(&self) {
        self.flags.set(Flag::Stopping, true);
    }

    /// Return True in debug mode.
    fn get_debug(&self) -> bool {
        self.debug()
    }

    #[getter(_debug)]
    fn debug_attribute(&self) -> bool {
        self.debug()
    }

    #[setter(_debug)]
    fn set_debug_attribute(&self, value: &Object<'_>) -> PyResult<()> {
        self.flags.set(Flag::Debug, value.is_truthy()?);
        Ok(())
    }

    #[getter(_closed)]
    fn closed_attribute(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed_attribute(&self, value: bool) {
        self.flags.set(Flag::Closed, value);
    }

    #[getter(_stopping)]
    fn stopping_attribute(&self) -> bool {
        self.flags.has(Flag::Stopping)
    }

    #[setter(_stopping)]
    fn set_stopping_attribute(&self, value: bool) {
        self.flags.set(Flag::Stopping, value);
    }

    #[getter(_thread_id)]
    fn thread_attribute(&self) -> Option<u64> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread => Some(thread),
        }
    }

    #[setter(_thread_id)]
    fn set_thread_attribute(slf: &Bound<'_, Self>, value: Option<u64>) {
        running::forget(slf);
        let (py, native) = (slf.py(), slf.get());
        native.thread.store(value.unwrap_or(0), Ordering::Relaxed);
        native.flags.set(Flag::Idle, !native.is_running());
        if !native.is_running() {
            // A loop that does not run may be garbage, and its tasks with it.
            native
                .pending
                .with(py, |pending| pending.iter().for_each(|task| native_class::show(task.bind(py))));
        }
    }

    /// An attribute is set on the object itself: it may override a method, and another class may override each.
    fn _note_attribute(&self, name: &Bound<'_, PyString>) -> PyResult<()> {
        let is_class = name.as_any().eq(names::__class__(name.py()))?;
        for method in called_directly(name.py()) {
            if is_class || name.as_any().eq(method)? {
                note_overridden(&self.flags, method);
            }
        }
        Ok(())
    }

    /// Runs until `stop()`; the face has marked the loop as the running one.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        super::run::run(slf)
    }

    /// One pass: events, due timers, and what was ready when it began.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        super::run::run_once(slf)
    }

    fn _write_to_self(&self, py: Python<'_>) {
        self.wake(py);
    }

    /// The pending tasks of this loop.
    fn _pending_tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        let tasks: Vec<_> =
            self.pending.with(py, |pending| pending.iter().map(|task| task.clone_ref(py)).collect());
        PySet::new(py, tasks)
    }

    /// Sets how many tasks may be pending, and how many without a warning; None is any number.
    fn _bound_tasks(&self, py: Python<'_>, max_tasks: Option<usize>, warn_tasks: Option<usize>) {
        self.pending.with(py, |pending| pending.bound(max_tasks, warn_tasks));
    }

    /// Has what several transports send in one turn leave by a system call for each.
    fn _send_apart(&self, py: Python<'_>) {
        drop(self.ring.with(py, |ring| mem::replace(ring, Ring::refused())));
    }

    /// Ends the loop: nothing runs any more, and the reactor is gone.
    fn _close(&self, py: Python<'_>) {
        self.flags.set(Flag::Closed, true);
        let ready = self.ready.with(py, mem::take);
        drop(ready);
        let timers = self.timers.with(py, Timers::drain);
        for timer in timers {
            timer.forget(py);
        }
        let sources = self.sources.with(py, Sources::close);
        drop(sources);
        drop(self.poller.with(py, Option::take));
        drop(self.waker.with(py, Option::take));
        drop(self.ring.with(py, Ring::close));
        drop(self.unflushed.with(py, mem::take));
        self._let_tasks_go(py);
    }

    /// Keeps no pending task alive any more.
    fn _let_tasks_go(&self, py: Python<'_>) {
        let pending = self.pending.with(py, Pending::drain);
        for task in &pending {
            task.value().state.with(py, |state| state.kept_at = None);
            native_class::show(task.bind(py));
        }
        drop(pending);
    }

    /// In a forked child: lets go of the parent's reactor without touching it. A loop that did not run
    /// gets a reactor of its own, so that a program can make a loop and then become a daemon; one that
    /// ran is the parent's for good.
    fn _leave_parent_after_fork(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, native) = (slf.py(), slf.get());
        running::forget(slf);
        drop(native.poller.with(py, Option::take));
        drop(native.ring.with(py, Ring::close));
        // The parent sends what was written in this turn.
        let unflushed = native.unflushed.with(py, mem::take);
        unflushed.iter().for_each(|transport| StreamTransport::forget_held(transport.bind(py)));
        drop(unflushed);
        if native.is_running() {
            drop(native.sources.with(py, Sources::close));
            return Ok(());
        }
        let reactor = Reactor::new().map_err(errors::os_error)?;
        let waker = reactor.waker();
        drop(native.waker.with(py, |slot| slot.replace(waker)));
        drop(native.sources.with(py, |sources| sources.reopen(reactor.registry)));
        drop(native.poller.with(py, |slot| slot.replace(reactor.poller)));
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit = Visit::of_class(&visit);
        let mut shown = self.ready.traverse(0, |queue| {
            queue.iter().map(|ready| ready.traverse(&visit)).find(|shown| *shown != 0).unwrap_or(0)
        });
        if shown == 0 {
            shown = self.timers.traverse(0, |timers| {
                timers.iter().map(|timer| timer.traverse(&visit)).find(|shown| *shown != 0).unwrap_or(0)
            });
        }
        if shown == 0 {
            shown = self.sources.traverse(0, |sources| sources.traverse(&visit));
        }
        if shown == 0 {
            shown = self.pending.traverse(0, |pending| visit.each(pending.iter()));
        }
        if shown == 0 {
            shown = self
                .task_factory
                .traverse(0, |factory| factory.as_ref().map_or(0, |factory| factory.traverse(&visit)));
        }
        if shown == 0 {
            shown = self.current.traverse(0, |current| visit.option(current.as_deref()));
        }
        if shown == 0 {
            shown = self.unflushed.traverse(0, |unflushed| visit.each(unflushed));
        }
        debug_assert!(shown == 0 || shown == -1, "a visitor of PyO3 says only whether to stop");
        visit.end()
    }

    fn __clear__(&self, py: Python<'_>) {
        self._close(py);
        drop(self.task_factory.with(py, Option::take));
        drop(self.current.with(py, Option::take));
    }
}
