//! The methods of the loop that Python calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PySet, PyTuple, PyType};
use tonnage_core::clock;
use tonnage_core::reactor::Reactor;
use tonnage_core::timers::Timers;

use super::pending::PendingTasks;
use super::sources::Sources;
use super::{EventLoop, Flags, Handle, Ready, TimerHandle, VecDeque};
use crate::cpython::{Guarded, Native, Object, Owned, Visit};
use crate::future::{self, Future};
use crate::task::{self, TaskOptions};
use crate::{errors, names};

const NS_PER_S: f64 = 1e9;

/// The first nanosecond of the clock at which `loop.time()` is not less than `when`.
fn deadline_ns(when: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is wanted")]
    let mut deadline = (when * NS_PER_S).ceil() as u64;
    while deadline < u64::MAX && seconds(deadline) < when {
        deadline += 1;
    }
    deadline
}

#[allow(clippy::cast_precision_loss, reason = "as time.monotonic() does it")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S
}

/// The methods whose overriding makes us schedule by name.
const SCHEDULING: [&str; 3] = ["call_soon", "call_later", "call_at"];

fn is_plain(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let own = class.py().get_type::<EventLoop>();
    for name in SCHEDULING {
        if !class.getattr(name)?.is(&own.getattr(name)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[pymethods]
impl EventLoop {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(class: &Bound<'_, PyType>, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let reactor = Reactor::new().map_err(errors::os_error)?;
        Ok(Self {
            ready: Guarded::new(VecDeque::new()),
            timers: Guarded::new(Timers::new()),
            waker: reactor.waker(),
            sources: Guarded::new(Sources::new(reactor.registry)),
            poller: Guarded::new(Some(reactor.poller)),
            pending: Guarded::new(PendingTasks::default()),
            current: Guarded::new(None),
            task_factory: Guarded::new(None),
            unflushed: Guarded::new(vec![]),
            thread: AtomicU64::new(0),
            flags: Flags {
                plain: is_plain(class)?,
                debug: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
            },
        })
    }

    /// Run a callback in the loop's next turn.
    #[pyo3(signature = (callback, *args, context = None))]
    fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = slf.py();
        let event_loop = slf.get();
        if event_loop.is_closed() {
            return Err(errors::loop_is_closed());
        }
        if event_loop.debug() {
            event_loop.check_thread()?;
            check_callback(&callback, "call_soon")?;
        }
        let handle = Handle::create(slf.as_any(), callback, args, context)?;
        if event_loop.debug() {
            handle.value().set_source_traceback(py)?;
        }
        event_loop.ready.with(py, |queue| queue.push_back(Ready::Handle((&handle).into())));
        Ok(handle)
    }

    /// Run a callback in the loop's next turn, and wake the loop; any thread may call it.
    #[pyo3(signature = (callback, *args, context = None))]
    fn call_soon_threadsafe<'py>(
        slf: &Bound<'py, Self>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Handle>> {
        let py = slf.py();
        let event_loop = slf.get();
        if event_loop.is_closed() {
            return Err(errors::loop_is_closed());
        }
        if event_loop.debug() {
            check_callback(&callback, "call_soon_threadsafe")?;
        }
        let handle = Handle::create(slf.as_any(), callback, args, context)?;
        if event_loop.debug() {
            handle.value().set_source_traceback(py)?;
        }
        event_loop.schedule_threadsafe(py, Ready::Handle((&handle).into()))?;
        Ok(handle)
    }

    /// Run a callback after a delay.
    #[pyo3(signature = (delay, callback, *args, context = None))]
    fn call_later<'py>(
        slf: &Bound<'py, Self>,
        delay: Option<f64>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let delay = delay.ok_or_else(|| PyTypeError::new_err("delay must not be None"))?;
        schedule_at(slf, seconds(clock::now_ns()) + delay, ("call_later", callback, args, context))
    }

    /// Run a callback at a time of the loop's clock.
    #[pyo3(signature = (when, callback, *args, context = None))]
    fn call_at<'py>(
        slf: &Bound<'py, Self>,
        when: Option<f64>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, TimerHandle>> {
        let when = when.ok_or_else(|| PyTypeError::new_err("when cannot be None"))?;
        schedule_at(slf, when, ("call_at", callback, args, context))
    }

    /// Return the time of the loop's clock, in seconds; it is `time.monotonic()`.
    fn time(_slf: &Bound<'_, Self>) -> f64 {
        seconds(clock::now_ns())
    }

    /// Return a new future of this loop.
    fn create_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Future>> {
        future::create_native(slf)
    }

    /// Run a coroutine as a task of this loop.
    #[pyo3(signature = (coro, *, name = None, context = None, eager_start = None, **kwargs))]
    fn create_task<'py>(
        slf: &Bound<'py, Self>,
        coro: Object<'py>,
        name: Option<Object<'py>>,
        context: Option<Object<'py>>,
        eager_start: Option<Object<'py>>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Object<'py>> {
        let py = slf.py();
        let event_loop = slf.get();
        if event_loop.is_closed() {
            return Err(errors::loop_is_closed());
        }
        let factory = event_loop.task_factory.with(py, |factory| factory.as_ref().map(|factory| factory.get_bound(py)));
        if let Some(factory) = factory {
            return task_by_factory(slf, &factory, &coro, (name, context, eager_start, kwargs));
        }
        if let Some(kwargs) = kwargs
            && let Some(unknown) = kwargs.keys().iter().next()
        {
            return Err(PyTypeError::new_err(format!("create_task() got an unexpected keyword argument '{unknown}'")));
        }
        let eager_start = match eager_start {
            Some(eager_start) => eager_start.is_truthy()?,
            None => false,
        };
        let options = TaskOptions { name, context, eager_start };
        Ok(task::create_native(slf, &coro, options)?.into_any())
    }

    /// Set what `create_task()` makes tasks with; None is tonnage's own Task.
    #[pyo3(signature = (factory))]
    fn set_task_factory(&self, py: Python<'_>, factory: Option<Object<'_>>) -> PyResult<()> {
        if factory.as_ref().is_some_and(|factory| !factory.is_callable()) {
            return Err(PyTypeError::new_err("task factory must be a callable or None"));
        }
        self.store_task_factory(py, factory);
        Ok(())
    }

    /// Return what was set with `set_task_factory()`, or None.
    fn get_task_factory(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.task_factory.with(py, |factory| factory.as_ref().map(|factory| factory.clone_ref(py)))
    }

    #[getter(_task_factory)]
    fn task_factory_attribute(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_task_factory(py)
    }

    #[setter(_task_factory)]
    fn store_task_factory(&self, py: Python<'_>, factory: Option<Object<'_>>) {
        let factory = factory.map(Owned::from);
        drop(self.task_factory.with(py, |slot| std::mem::replace(slot, factory)));
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
        self.flags.stopping.store(true, Ordering::Relaxed);
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
        self.flags.debug.store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }

    #[getter(_closed)]
    fn closed_attribute(&self) -> bool {
        self.is_closed()
    }

    #[setter(_closed)]
    fn set_closed_attribute(&self, value: bool) {
        self.flags.closed.store(value, Ordering::Relaxed);
    }

    #[getter(_stopping)]
    fn stopping_attribute(&self) -> bool {
        self.flags.stopping.load(Ordering::Relaxed)
    }

    #[setter(_stopping)]
    fn set_stopping_attribute(&self, value: bool) {
        self.flags.stopping.store(value, Ordering::Relaxed);
    }

    #[getter(_thread_id)]
    fn thread_attribute(&self) -> Option<u64> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread => Some(thread),
        }
    }

    #[setter(_thread_id)]
    fn set_thread_attribute(&self, value: Option<u64>) {
        self.thread.store(value.unwrap_or(0), Ordering::Relaxed);
    }

    /// Runs until `stop()`; the face has marked the loop as the running one.
    fn _run(slf: &Bound<'_, Self>) -> PyResult<()> {
        super::run::run(slf)
    }

    /// One pass: events, due timers, and what was ready when it began.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        super::run::run_once(slf)
    }

    fn _write_to_self(&self) {
        self.waker.wake();
    }

    /// The pending tasks of this loop.
    fn _pending_tasks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PySet>> {
        let tasks: Vec<_> = self.pending.with(py, |pending| pending.iter().map(|task| task.clone_ref(py)).collect());
        PySet::new(py, tasks)
    }

    /// Ends the loop: nothing runs any more, and the reactor is gone.
    fn _close(&self, py: Python<'_>) {
        self.flags.closed.store(true, Ordering::Relaxed);
        let ready = self.ready.with(py, std::mem::take);
        drop(ready);
        let timers = self.timers.with(py, Timers::drain);
        for timer in timers {
            timer.value().key.with(py, |key| *key = None);
        }
        let sources = self.sources.with(py, Sources::close);
        drop(sources);
        drop(self.poller.with(py, Option::take));
        drop(self.unflushed.with(py, std::mem::take));
        let pending = self.pending.with(py, PendingTasks::drain);
        for task in pending.iter().flatten() {
            task.value().state.with(py, |state| state.kept_at = None);
        }
        drop(pending);
    }

    /// In a forked child: lets go of the parent's reactor without touching it.
    fn _close_after_fork(&self, py: Python<'_>) {
        drop(self.sources.with(py, Sources::close));
        drop(self.poller.with(py, Option::take));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let visit = Visit::of_class(&visit);
        let mut shown = self.ready.traverse(0, |queue| {
            queue.iter().map(|ready| ready.traverse(&visit)).find(|shown| *shown != 0).unwrap_or(0)
        });
        if shown == 0 {
            shown = self.timers.traverse(0, |timers| {
                timers.iter().map(|timer| visit.call(timer)).find(|shown| *shown != 0).unwrap_or(0)
            });
        }
        if shown == 0 {
            shown = self.sources.traverse(0, |sources| sources.traverse(&visit));
        }
        if shown == 0 {
            shown = self.pending.traverse(0, |pending| pending.traverse(&visit));
        }
        if shown == 0 {
            shown = self.task_factory.traverse(0, |factory| visit.option(factory.as_deref()));
        }
        if shown == 0 {
            shown = self.current.traverse(0, |current| visit.option(current.as_deref()));
        }
        if shown == 0 {
            shown = self.unflushed.traverse(0, |unflushed| {
                unflushed.iter().map(|transport| visit.call(transport)).find(|shown| *shown != 0).unwrap_or(0)
            });
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

type Scheduled<'py> = (&'static str, Object<'py>, Bound<'py, PyTuple>, Option<Object<'py>>);

fn schedule_at<'py>(slf: &Bound<'py, EventLoop>, when: f64, scheduled: Scheduled<'py>) -> PyResult<Bound<'py, TimerHandle>> {
    let py = slf.py();
    let event_loop = slf.get();
    let (method, callback, args, context) = scheduled;
    if event_loop.is_closed() {
        return Err(errors::loop_is_closed());
    }
    if when.is_nan() {
        return Err(PyValueError::new_err(format!("{method}() needs a time, got nan")));
    }
    if event_loop.debug() {
        event_loop.check_thread()?;
        check_callback(&callback, method)?;
    }
    let timer = TimerHandle::create(slf.as_any(), when, callback, args, context)?;
    if event_loop.debug() {
        TimerHandle::as_handle(&timer).value().set_source_traceback(py)?;
    }
    let kept = Owned::from(&timer);
    let key = event_loop.timers.with(py, |timers| timers.insert(deadline_ns(when), kept));
    timer.value().key.with(py, |slot| *slot = Some(key));
    Ok(timer)
}

/// In debug mode: a coroutine is no callback, and neither is what cannot be called.
fn check_callback(callback: &Object<'_>, method: &str) -> PyResult<()> {
    let py = callback.py();
    if names::is_coroutine(py)?.call1((callback,))?.is_truthy()?
        || names::is_coroutine_function(py)?.call1((callback,))?.is_truthy()?
    {
        return Err(PyTypeError::new_err(format!("coroutines cannot be used with {method}()")));
    }
    if !callback.is_callable() {
        let text = format!("a callable object was expected by {method}(), got {}", callback.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    Ok(())
}

type FactoryArgs<'py> = (Option<Object<'py>>, Option<Object<'py>>, Option<Object<'py>>, Option<Bound<'py, PyDict>>);

/// Hands the factory only the arguments that were given; older versions of asyncio set the name
/// themselves, so that factories there need not know it.
fn task_by_factory<'py>(
    slf: &Bound<'py, EventLoop>,
    factory: &Object<'py>,
    coro: &Object<'py>,
    (name, context, eager_start, rest): FactoryArgs<'py>,
) -> PyResult<Object<'py>> {
    let py = slf.py();
    let kwargs = match rest {
        Some(rest) => rest,
        None => PyDict::new(py),
    };
    if let Some(context) = context {
        kwargs.set_item(names::context(py), context)?;
    }
    if let Some(eager_start) = eager_start {
        kwargs.set_item(names::eager_start(py), eager_start)?;
    }
    if factories_take_names(py) {
        if let Some(name) = name {
            kwargs.set_item(names::name(py), name)?;
        }
        return factory.call((slf, coro), Some(&kwargs));
    }
    let task = factory.call((slf, coro), Some(&kwargs))?;
    if let Some(name) = name
        && let Some(set_name) = task.getattr_opt(names::set_name(py))?
    {
        set_name.call1((name,))?;
    }
    Ok(task)
}

fn factories_take_names(py: Python<'_>) -> bool {
    let version = py.version_info();
    (version.major, version.minor, version.patch) >= (3, 13, 3)
}
