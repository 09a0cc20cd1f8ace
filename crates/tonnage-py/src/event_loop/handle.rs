//! Handle: a scheduled callback that can be cancelled.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use tonnage_core::turnstile::Turnstile;

use super::call_args::CallArgs;
use super::{EventLoop, TimerHandle};
use crate::cpython::native_class::{create_with, is_exact};
use crate::cpython::{
    Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, another, compat, context,
};
use crate::{errors, future, names};

#[repr(C)]
pub(crate) struct Handle {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<HandleState>,
}

pub(super) struct HandleState {
    /// `None` once it is cancelled.
    callback: Option<(Owned, CallArgs)>,
    context: Option<Owned>,
    pub(super) event_loop: Option<Owned>,
    source_traceback: Option<Owned>,
    /// The repr from before it was cancelled, in debug mode.
    repr: Option<Owned>,
    cancelled: bool,
    thread_safe: ThreadSafe,
}

impl HandleState {
    /// Is it of a loop of ours in debug mode?
    #[inline]
    fn debug(&self, py: Python<'_>) -> bool {
        let event_loop = self.event_loop.as_ref().and_then(|event_loop| EventLoop::of(event_loop.bind(py)));
        event_loop.is_some_and(EventLoop::debug)
    }
}

/// Other threads may cancel a handle of `call_soon_threadsafe`; they then wait for its callback, if
/// that runs. As asyncio's from CPython 3.14 on, Lib/asyncio/events.py, `_ThreadSafeHandle`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadSafe {
    No,
    Idle,
    Running,
}

/// Where threads wait for the end of a callback. One for all: it is used once in a blue moon.
static CALLBACK_ENDED: Turnstile = Turnstile::new();

impl Handle {
    #[inline(always)]
    pub(super) fn new(
        event_loop: &Object<'_>,
        callback: Object<'_>,
        args: CallArgs,
        in_context: Object<'_>,
    ) -> Self {
        Self {
            extras: Extras::new(),
            state: Guarded::new(HandleState {
                callback: Some((callback.into(), args)),
                context: Some(in_context.into()),
                event_loop: Some(event_loop.into()),
                source_traceback: None,
                repr: None,
                cancelled: false,
                thread_safe: ThreadSafe::No,
            }),
        }
    }

    #[inline(always)]
    pub(crate) fn create<'py>(
        event_loop: &Object<'py>,
        callback: Object<'py>,
        args: CallArgs,
        in_context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let in_context = context_or_current(py, in_context)?;
        create_with(py, || Self::new(event_loop, callback, args, in_context))
    }

    /// Lets other threads cancel it.
    pub(super) fn make_thread_safe(&self, py: Python<'_>) {
        self.state.with(py, |state| state.thread_safe = ThreadSafe::Idle);
    }

    pub(super) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.cancelled)
    }

    /// Remembers who made it, in debug mode.
    pub(super) fn set_source_traceback(&self, py: Python<'_>) -> PyResult<()> {
        let traceback = Owned::from(names::extract_stack(py)?.call0()?);
        drop(self.state.with(py, |state| state.source_traceback.replace(traceback)));
        Ok(())
    }
}

#[inline]
pub(super) fn context_or_current<'py>(py: Python<'py>, given: Option<Object<'py>>) -> PyResult<Object<'py>> {
    match given {
        Some(given) if !given.is_none() => Ok(given),
        _ => context::copy_current(py),
    }
}

impl NativeClass for Handle {
    const NAME: &'static CStr = c"tonnage.Handle";
    const DOC: &'static CStr = c"A callback scheduled by call_soon() and its relatives.";

    fn is_link(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| matches!(state.callback, Some((_, CallArgs::One(_)))))
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        !self.is_link(py)
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.repr(repr);
        slots.no_args(c"cancel", c"Cancel the callback.", |handle| {
            wait_for_callback(handle)?;
            cancel(handle)?;
            Ok(handle.py().None().into_bound(handle.py()))
        });
        slots.no_args(c"cancelled", c"Return True if the callback was cancelled.", |handle| {
            wait_for_callback(handle)?;
            Ok(future::to_bool(handle.py(), handle.value().is_cancelled(handle.py())))
        });
        slots.no_args(c"get_context", c"Return the context of the callback.", |handle| {
            part(handle, |state| state.context.as_deref())
        });
        slots.no_args(c"_run", c"Run the callback.", |handle| {
            run(handle)?;
            Ok(handle.py().None().into_bound(handle.py()))
        });
        slots.no_args(c"_repr_info", c"The parts of the repr.", |handle| {
            repr_info(handle, None).map(Bound::into_any)
        });
        attributes(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            if let Some((callback, args)) = &state.callback {
                let shown = match visit.call(callback) {
                    0 => args.traverse(visit),
                    shown => shown,
                };
                if shown != 0 {
                    return shown;
                }
            }
            let all =
                [state.context.as_deref(), state.event_loop.as_deref(), state.source_traceback.as_deref()];
            all.into_iter().flatten().map(|object| visit.call(object)).find(|shown| *shown != 0).unwrap_or(0)
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(
            self.state
                .with(py, |state| (state.callback.take(), state.context.take(), state.event_loop.take())),
        );
    }
}

fn attributes(slots: &mut Slots<Handle>) {
    slots.getter(c"__class__", |handle| {
        if is_exact::<Handle>(handle.as_any()) {
            if handle.value().state.with(handle.py(), |state| state.thread_safe != ThreadSafe::No) {
                return compat::thread_safe_handle(handle.py()).cloned();
            }
            return names::asyncio_handle(handle.py()).cloned();
        }
        Ok(handle.get_type().into_any())
    });
    slots.getter(c"_cancelled", |handle| {
        Ok(future::to_bool(handle.py(), handle.value().is_cancelled(handle.py())))
    });
    slots.getter(c"_callback", |handle| {
        part(handle, |state| state.callback.as_ref().map(|(callback, _)| &**callback))
    });
    slots.getter(c"_args", |handle| {
        let args = shared_args(handle);
        args.map_or_else(
            || Ok(handle.py().None().into_bound(handle.py())),
            |args| Ok(args.as_tuple(handle.py())?.into_any()),
        )
    });
    slots.getter(c"_context", |handle| part(handle, |state| state.context.as_deref()));
    slots.getter(c"_loop", |handle| part(handle, |state| state.event_loop.as_deref()));
    slots.getter(c"_repr", |handle| part(handle, |state| state.repr.as_deref()));
    slots.attribute_pair(
        c"_source_traceback",
        |handle| part(handle, |state| state.source_traceback.as_deref()),
        |handle, value| {
            let value = (!value.is_none()).then(|| Owned::from(value));
            drop(
                handle
                    .value()
                    .state
                    .with(handle.py(), |state| std::mem::replace(&mut state.source_traceback, value)),
            );
            Ok(())
        },
    );
}

pub(super) fn part<'py>(
    handle: &Bound<'py, Handle>,
    part: impl FnOnce(&HandleState) -> Option<&Py<PyAny>>,
) -> PyResult<Object<'py>> {
    let py = handle.py();
    let found = handle.value().state.with(py, |state| part(state).map(|object| another(object.bind(py))));
    Ok(found.unwrap_or_else(|| py.None().into_bound(py)))
}

fn shared_args(handle: &Bound<'_, Handle>) -> Option<CallArgs> {
    let py = handle.py();
    handle.value().state.with(py, |state| state.callback.as_ref().map(|(_, args)| args.share(py)))
}

fn debug(handle: &Bound<'_, Handle>) -> bool {
    handle.value().state.with(handle.py(), |state| state.debug(handle.py()))
}

/// In another thread than the loop's: waits while the callback runs.
fn wait_for_callback(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let py = handle.py();
    loop {
        let seen = CALLBACK_ENDED.generation();
        if handle.value().state.with(py, |state| state.thread_safe) != ThreadSafe::Running {
            return Ok(());
        }
        let event_loop = part(handle, |state| state.event_loop.as_deref())?;
        if EventLoop::of_any(&event_loop).is_none_or(EventLoop::is_own_thread) {
            return Ok(());
        }
        py.detach(|| CALLBACK_ENDED.wait_after(seen));
    }
}

pub(crate) fn cancel(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let py = handle.py();
    let quiet = handle.value().state.with(py, |state| {
        if std::mem::replace(&mut state.cancelled, true) {
            return Some(None);
        }
        if state.debug(py) { None } else { Some(state.callback.take()) }
    });
    match quiet {
        Some(gone) => drop(gone),
        None => {
            // The callback goes; its repr stays, for the debug log.
            let text = Owned::from(handle.repr()?.into_any());
            let gone =
                handle.value().state.with(py, |state| (state.repr.replace(text), state.callback.take()));
            drop(gone);
        }
    }
    Ok(())
}

/// Sets the future's result at once, if the callback is `future.set_result` with a value, of a pending
/// future of this loop: the commonest callback of all. It runs no Python code, so neither its context
/// nor the mark of the running task can be seen. Says whether it did.
#[inline(always)]
pub(super) fn run_set_result(handle: &Bound<'_, Handle>, event_loop: &Object<'_>) -> PyResult<bool> {
    let has_one = |state: &mut HandleState| matches!(state.callback, Some((_, CallArgs::One(_))));
    if handle.value().state.with(handle.py(), has_one) {
        settle_by_set_result(handle, event_loop)
    } else {
        Ok(false)
    }
}

fn settle_by_set_result(handle: &Bound<'_, Handle>, event_loop: &Object<'_>) -> PyResult<bool> {
    let py = handle.py();
    let found = handle.value().state.with(py, |state| {
        let Some((callback, CallArgs::One(value))) = &state.callback else { return None };
        let future = future::receiver_of_set_result(callback.bind(py))?;
        let simple = future.value().state.with(py, |future| {
            future.is_pending() && future.event_loop.is_native() && future.event_loop.is(event_loop)
        });
        simple.then(|| (another(future), value.share(py)))
    });
    let Some((future, value)) = found else { return Ok(false) };
    future::settle(&future, future::Outcome::Result(value))
}

/// Runs the callback in its context. Only what must leave the loop comes back as an error.
#[inline(always)]
pub(crate) fn run(handle: &Bound<'_, Handle>) -> PyResult<()> {
    let py = handle.py();
    let taken = handle.value().state.with(py, |state| match (&state.callback, &state.context) {
        (Some((callback, args)), Some(in_context)) => {
            Some((callback.get_bound(py), args.share(py), in_context.get_bound(py), state.thread_safe))
        }
        _ => None,
    });
    let Some((callback, args, in_context, thread_safe)) = taken else { return Ok(()) };
    let running = (thread_safe != ThreadSafe::No).then(|| Running::begin(handle));
    let ran = context::run(&in_context, || args.call(&callback).map(drop));
    drop(running);
    match ran {
        Ok(()) => Ok(()),
        Err(error) if errors::is_exit(py, &error) => Err(error),
        Err(error) => report(handle, &callback, &args.as_tuple(py)?, error),
    }
}

/// The callback of a thread-safe handle runs.
struct Running<'a, 'py>(&'a Bound<'py, Handle>);

impl<'a, 'py> Running<'a, 'py> {
    fn begin(handle: &'a Bound<'py, Handle>) -> Self {
        handle.value().state.with(handle.py(), |state| state.thread_safe = ThreadSafe::Running);
        Self(handle)
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.0.value().state.with(self.0.py(), |state| state.thread_safe = ThreadSafe::Idle);
        CALLBACK_ENDED.end();
    }
}

/// Tells the loop's exception handler that a callback failed.
#[cold]
fn report<'py>(
    handle: &Bound<'py, Handle>,
    callback: &Object<'py>,
    args: &Bound<'py, PyTuple>,
    error: PyErr,
) -> PyResult<()> {
    let py = handle.py();
    let source = callback_source(handle, callback, args)?;
    let details = PyDict::new(py);
    details.set_item("message", format!("Exception in callback {source}"))?;
    details.set_item("exception", error.into_value(py))?;
    details.set_item("handle", handle)?;
    let traceback = part(handle, |state| state.source_traceback.as_deref())?;
    if !traceback.is_none() {
        details.set_item("source_traceback", traceback)?;
    }
    let event_loop = part(handle, |state| state.event_loop.as_deref())?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}

/// Tells the loop's exception handler that a done callback of a future failed.
#[cold]
pub(crate) fn report_callback<'py>(
    event_loop: &Object<'py>,
    callback: Object<'py>,
    future: Object<'py>,
    (in_context, error): (Object<'py>, PyErr),
) -> PyResult<()> {
    let args = CallArgs::One(future.into());
    let tuple = args.as_tuple(event_loop.py())?;
    let handle = Handle::create(event_loop, callback.clone(), args, Some(in_context))?;
    report(&handle, &callback, &tuple, error)
}

fn callback_source<'py>(
    handle: &Bound<'py, Handle>,
    callback: &Object<'py>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyString>> {
    let py = handle.py();
    let format = names::format_callback_source(py)?;
    let kwargs = PyDict::new(py);
    if py.version_info() >= (3, 13) {
        kwargs.set_item("debug", debug(handle))?;
    }
    Ok(format.call((callback, args), Some(&kwargs))?.cast_into()?)
}

fn repr<'py>(handle: &Bound<'py, Handle>) -> PyResult<Object<'py>> {
    let py = handle.py();
    let kept = part(handle, |state| state.repr.as_deref())?;
    if !kept.is_none() {
        return Ok(kept);
    }
    let when = handle.cast::<TimerHandle>().ok().map(|timer| timer.value().when);
    let info = repr_info(handle, when)?;
    let text = PyString::new(py, " ").call_method1("join", (info,))?;
    Ok(PyString::new(py, &format!("<{text}>")).into_any())
}

fn repr_info<'py>(handle: &Bound<'py, Handle>, when: Option<f64>) -> PyResult<Bound<'py, PyList>> {
    let py = handle.py();
    let info = PyList::new(py, [handle.get_type().name()?])?;
    if handle.value().is_cancelled(py) {
        info.append("cancelled")?;
    }
    if let Some(when) = when {
        info.append(format!("when={}", when.into_pyobject(py)?.repr()?))?;
    }
    let callback = part(handle, |state| state.callback.as_ref().map(|(callback, _)| &**callback))?;
    if let Some(args) = shared_args(handle) {
        info.append(callback_source(handle, &callback, &args.as_tuple(py)?)?)?;
    }
    let traceback = part(handle, |state| state.source_traceback.as_deref())?;
    if !traceback.is_none()
        && let Ok(frame) = traceback.get_item(-1)
    {
        info.append(format!("created at {}:{}", frame.get_item(0)?, frame.get_item(1)?))?;
    }
    Ok(info)
}
