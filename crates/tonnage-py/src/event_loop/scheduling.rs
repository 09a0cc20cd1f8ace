//! `call_soon` and its relatives, `create_task` and `create_future`: what programs call most.
//!
//! They are methods of the fence's making: PyO3's own take arguments into a tuple at each call.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};
use tonnage_core::clock::{self, CycleClock, Moment};
use tonnage_core::timers::TimerKey;

use super::call_args::CallArgs;
use super::flags::Flag;
use super::pending::{Admission, Pending};
use super::{EventLoop, Handle, Ready, Timer, TimerHandle};
use crate::cpython::{Args, Methods, Native, Object, Owned, Parameters, another, compat, number};
use crate::errors::Refusal;
use crate::future::Future;
use crate::limits::Limiter;
use crate::structured::DeadlineBlock;
use crate::task::{self, TaskOptions};
use crate::{errors, future, names};

pub(crate) fn methods(methods: &mut Methods<EventLoop>) {
    methods.with_args(c"call_soon", c"Run a callback in the loop's next turn.", |event_loop, args| {
        let Some(call) = args.positional().split_first() else {
            return by_name(event_loop, &args, "call_soon", &["callback"]);
        };
        event_loop.get().check_scheduling(None)?;
        let handle = new_handle(event_loop, &args, call, "call_soon")?;
        event_loop.get().ready.with(args.py(), |queue| queue.push_back(Ready::Handle((&handle).into())));
        Ok(handle.into_any())
    });
    methods.with_args(
        c"call_soon_threadsafe",
        c"Run a callback in the loop's next turn, and wake the loop; any thread may call it.",
        |event_loop, args| {
            let Some(call) = args.positional().split_first() else {
                return by_name(event_loop, &args, "call_soon_threadsafe", &["callback"]);
            };
            let handle = new_handle(event_loop, &args, call, "call_soon_threadsafe")?;
            handle.value().make_thread_safe(args.py());
            event_loop.get().schedule_threadsafe(args.py(), Ready::Handle((&handle).into()))?;
            Ok(handle.into_any())
        },
    );
    methods.with_args(c"call_later", c"Run a callback after a delay.", |event_loop, args| {
        let [delay, callback, rest @ ..] = args.positional() else {
            return by_name(event_loop, &args, "call_later", &["delay", "callback"]);
        };
        if delay.is_none() {
            return Err(PyTypeError::new_err("delay must not be None"));
        }
        let when = time_s(event_loop)? + number::seconds(delay)?;
        schedule_at(event_loop, &args, (callback, rest), ((when, false), "call_later"))
    });
    methods.with_args(c"call_at", c"Run a callback at a time of the loop's clock.", |event_loop, args| {
        let [when, callback, rest @ ..] = args.positional() else {
            return by_name(event_loop, &args, "call_at", &["when", "callback"]);
        };
        if when.is_none() {
            return Err(PyTypeError::new_err("when cannot be None"));
        }
        let when = (number::seconds(when)?, when.is_exact_instance_of::<PyInt>());
        schedule_at(event_loop, &args, (callback, rest), (when, "call_at"))
    });
    methods.no_args(
        c"time",
        c"Return the time of the loop's clock, in seconds; it is `time.monotonic()`.",
        |event_loop| {
            let now = event_loop.get().now(event_loop.py());
            Ok(now.seconds.into_pyobject(event_loop.py())?.into_any())
        },
    );
    methods.no_args(c"create_future", c"Return a new future of this loop.", |event_loop| {
        Ok(future::create_native(event_loop)?.into_any())
    });
    methods.with_args(c"create_task", c"Run a coroutine as a task of this loop.", create_task);
    methods.with_args(
        c"_create_unbounded_task",
        c"Run a coroutine as a task of this loop, however many there are.",
        create_unbounded,
    );
}

/// `event_loop.time()`, by name where a program overrides it.
#[inline]
pub(super) fn time_s(event_loop: &Bound<'_, EventLoop>) -> PyResult<f64> {
    if event_loop.get().has_own_time() {
        return event_loop.call_method0(names::time(event_loop.py()))?.extract();
    }
    Ok(event_loop.get().now(event_loop.py()).seconds)
}

/// A callback and its arguments.
type Call<'a, 'py> = (&'a Object<'py>, &'a [Object<'py>]);

#[inline(always)]
fn new_handle<'py>(
    event_loop: &Bound<'py, EventLoop>,
    args: &Args<'_, 'py>,
    (callback, rest): Call<'_, 'py>,
    method: &'static str,
) -> PyResult<Bound<'py, Handle>> {
    event_loop.get().check_scheduling(Some((callback, method)))?;
    let context = args.only_keyword(method, "context")?;
    let handle =
        Handle::create(event_loop.as_any(), another(callback), CallArgs::new(args.py(), rest)?, context)?;
    if event_loop.get().debug() {
        handle.value().set_source_traceback(args.py())?;
    }
    Ok(handle)
}

/// The call of a method again, with the parameters `names` by position: they were not all given so.
#[cold]
fn by_name<'py>(
    event_loop: &Bound<'py, EventLoop>,
    args: &Args<'_, 'py>,
    method: &'static str,
    names: &[&'static str],
) -> PyResult<Object<'py>> {
    let py = args.py();
    let keywords = args.keywords()?;
    let mut values = vec![event_loop.clone().into_any()];
    values.extend_from_slice(args.positional());
    for name in &names[args.positional().len()..] {
        let Some(value) = keywords.get_item(name)? else {
            let text = format!("{method}() missing 1 required positional argument: '{name}'");
            return Err(PyTypeError::new_err(text));
        };
        keywords.del_item(name)?;
        values.push(value);
    }
    // Not the loop's own attribute: a subclass may have a method that calls this one.
    py.get_type::<EventLoop>().getattr(method)?.call(PyTuple::new(py, values)?, Some(&keywords))
}

fn schedule_at<'py>(
    event_loop: &Bound<'py, EventLoop>,
    args: &Args<'_, 'py>,
    (callback, rest): Call<'_, 'py>,
    ((when, is_int), method): ((f64, bool), &'static str),
) -> PyResult<Object<'py>> {
    let py = args.py();
    let native = event_loop.get();
    native.check_scheduling(None)?;
    if when.is_nan() {
        return Err(PyValueError::new_err(format!("{method}() needs a time, got nan")));
    }
    native.check_scheduling(Some((callback, method)))?;
    let context = args.only_keyword(method, "context")?;
    let timer = TimerHandle::create(
        event_loop.as_any(),
        (when, is_int),
        another(callback),
        CallArgs::new(py, rest)?,
        context,
    )?;
    if native.debug() {
        TimerHandle::as_handle(&timer).value().set_source_traceback(py)?;
    }
    let kept = Owned::from(&timer);
    let key = native.timers.with(py, |timers| timers.insert(clock::deadline_ns(when), Timer::Handle(kept)));
    timer.value().key.with(py, |slot| *slot = Some(key));
    Ok(timer.into_any())
}

impl EventLoop {
    /// `loop.call_soon(callback, *args, context=...)`, by name where a program overrides it.
    pub(crate) fn call_soon<'py>(
        slf: &Bound<'py, Self>,
        callback: &Object<'py>,
        args: &[&Object<'py>],
        context: Option<Object<'py>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let native = slf.get();
        if !native.is_plain_and_quiet() {
            let kwargs = PyDict::new(py);
            kwargs.set_item(names::context(py), context)?;
            let args = PyTuple::new(py, [&[callback], args].concat())?;
            return slf.call_method(names::call_soon(py), args, Some(&kwargs)).map(drop);
        }
        let args = match args {
            [] => CallArgs::None,
            [one] => CallArgs::One((*one).into()),
            many => CallArgs::Many(PyTuple::new(py, many)?.into()),
        };
        let handle = Handle::create(slf.as_any(), callback.clone(), args, context)?;
        native.schedule(py, Ready::Handle((&handle).into()))
    }

    /// Has the future of this loop get None after a time.
    pub(crate) fn wake_later(&self, py: Python<'_>, delay_s: f64, future: Bound<'_, Future>) -> TimerKey {
        let deadline = self.now(py).plus(delay_s);
        let timer = Timer::Wake(future.into());
        self.timers.with(py, |timers| timers.insert(deadline.ns, timer))
    }

    /// May a timeout be scheduled?
    pub(crate) fn check_expiry(&self, deadline: Moment) -> PyResult<()> {
        self.check_scheduling(None)?;
        if deadline.seconds.is_nan() {
            return Err(PyValueError::new_err("a timeout needs a time, got nan"));
        }
        Ok(())
    }

    /// Has the timeout expire at `deadline`, on a loop that takes it (`check_expiry`). If that is past, it stands in the
    /// ready queue at once, and has no key. `now` is the time, if it was just read.
    #[inline(always)]
    pub(crate) fn expire_at(
        &self,
        timeout: &Bound<'_, DeadlineBlock>,
        deadline: Moment,
        now: Option<Moment>,
    ) -> Option<TimerKey> {
        let py = timeout.py();
        let is_past = match now {
            Some(now) => deadline.seconds <= now.seconds,
            None => clock::is_past(deadline.ns),
        };
        if is_past {
            self.ready.with(py, |queue| queue.push_back(Ready::Expire(timeout.into())));
            return None;
        }
        let timer = Timer::Expire(timeout.into());
        Some(self.timers.with(py, |timers| timers.insert(deadline.ns, timer)))
    }

    /// Has the limiter serve those who wait at a time.
    pub(crate) fn serve_at(
        &self,
        py: Python<'_>,
        at_ns: u64,
        limiter: &Bound<'_, Limiter>,
    ) -> PyResult<TimerKey> {
        self.check_scheduling(None)?;
        let timer = Timer::Serve(limiter.into());
        Ok(self.timers.with(py, |timers| timers.insert(at_ns, timer)))
    }

    /// `loop.time()` of each loop of ours.
    #[inline(always)]
    pub(crate) fn now(&self, py: Python<'_>) -> Moment {
        Moment::of_ns(self.clock.with(py, CycleClock::now_ns))
    }

    /// The loop is open; in debug mode, this is its thread (but for the thread-safe method), and the
    /// callback is one.
    #[inline]
    fn check_scheduling(&self, callback: Option<(&Object<'_>, &str)>) -> PyResult<()> {
        if self.flags.has_any([Flag::Closed, Flag::Debug]) { self.check_callback(callback) } else { Ok(()) }
    }

    /// May one more task be made? If not, its coroutine is closed.
    fn admit(&self, args: &Args<'_, '_>) -> PyResult<()> {
        let py = args.py();
        match self.pending.with(py, Pending::admit) {
            Admission::Admitted => Ok(()),
            Admission::Warn(count) => names::warn_of_tasks(py)?.call1((count,)).map(drop),
            Admission::Refused(max) => Err(refuse_task(args, max)?),
        }
    }

    #[cold]
    fn check_callback(&self, callback: Option<(&Object<'_>, &str)>) -> PyResult<()> {
        if self.is_closed() {
            return Err(errors::loop_is_closed());
        }
        match callback {
            None => self.check_thread(),
            Some((callback, method)) => check_callback(callback, method),
        }
    }
}

#[cold]
fn refuse_task(args: &Args<'_, '_>, max: usize) -> PyResult<PyErr> {
    let py = args.py();
    let coro = match args.positional().first() {
        Some(coro) => Some(coro.clone()),
        None => args.keywords()?.get_item(names::coro(py))?,
    };
    if let Some(coro) = coro
        && names::is_coroutine(py)?.call1((&coro,))?.is_truthy()?
    {
        coro.call_method0(names::close(py))?;
    }
    let text = format!(
        "too many tasks: {max} are pending, as many as max_tasks of the loop's Policy allows; bound them with limit=, \
         or raise max_tasks"
    );
    Ok(errors::overloaded(py, &text, Refusal::Tasks, None, None))
}

/// In debug mode: a coroutine is no callback, and neither is what cannot be called.
fn check_callback(callback: &Object<'_>, method: &str) -> PyResult<()> {
    let py = callback.py();
    if names::is_coroutine(py)?.call1((callback,))?.is_truthy()?
        || compat::is_coroutine_function(py)?.call1((callback,))?.is_truthy()?
    {
        return Err(PyTypeError::new_err(format!("coroutines cannot be used with {method}()")));
    }
    if !callback.is_callable() {
        let text = format!("a callable object was expected by {method}(), got {}", callback.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    Ok(())
}

fn create_task<'py>(event_loop: &Bound<'py, EventLoop>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let native = event_loop.get();
    // As asyncio's functions call it: `loop.create_task(coro, name=None)`.
    if let Some(coro) = args.single_beside_none([names::name(py), names::context(py)])
        && native.spawns_directly(py)
    {
        return Ok(task::create_plain(event_loop, coro, None, 0)?.into_any());
    }
    // A loop that does not run makes the tasks that prepare or end a program.
    if native.is_running() && !native.is_closed() {
        native.admit(&args)?;
    }
    create_unbounded(event_loop, args)
}

fn create_unbounded<'py>(event_loop: &Bound<'py, EventLoop>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<4> = Parameters {
        function: "create_task",
        names: ["coro", "name", "context", "eager_start"],
        positional: 1,
        required: 1,
    };
    let py = args.py();
    let native = event_loop.get();
    if native.is_closed() {
        return Err(errors::loop_is_closed());
    }
    let factory = native.task_factory.with(py, |factory| factory.as_ref().map(|factory| factory.share(py)));
    if let Some(factory) = factory {
        return factory.create_task(event_loop, &args);
    }
    let [coro, name, context, eager_start] = args.parse(&PARAMETERS)?;
    let eager_start = match eager_start {
        Some(eager_start) => eager_start.is_truthy()?,
        None => false,
    };
    let options = TaskOptions { name, context, eager_start };
    Ok(task::create_native(event_loop, &coro.expect("required"), options)?.into_any())
}
