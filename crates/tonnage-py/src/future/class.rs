//! The class Future as Python sees it: asyncio's methods and attributes.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyString};

use super::{Future, Outcome, Polled, awaited_by, awaiting, callbacks, finalizer};
use crate::cpython::native_class::{create, create_with, is_exact};
use crate::cpython::{
    Args, LoopRef, Mark, Native, NativeClass, Object, Owned, Parameters, PlainDrop, Slots, Visit, another,
    receiver_of,
};
use crate::event_loop::EventLoop;
use crate::structured::GatheringFuture;
use crate::{errors, names};

impl NativeClass for Future {
    const NAME: &'static CStr = c"tonnage.Future";
    const DOC: &'static CStr = c"Future(*, loop=None)\n--\n\nA result that is not there yet.";

    const HIDES_NEXT: bool = true;
    const PLAIN_DROP: PlainDrop = PlainDrop::ByFields;

    fn empty() -> Option<Self> {
        Some(Self::empty())
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        !self.has_plain_result(py)
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.event_loop.has(Mark::LogTraceback))
    }

    fn may_be_finalized(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.event_loop.has(Mark::Finalized))
    }

    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.has_ended_plainly(py)
    }

    fn drop_plainly(self) {
        Self::drop_plainly(self);
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.finalizer(finalizer::report_unretrieved);
        slots.repr(repr);
        slots.awaitable(awaiting::awaited, awaiting::resume, awaiting::iterator);
        slots.class_getitem();
        methods(slots);
        attributes(slots);
    }

    #[inline]
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let outcome = match &state.outcome {
                Outcome::Pending | Outcome::Cancelled => None,
                Outcome::Result(object) | Outcome::Exception(object) => Some(&**object),
            };
            let mut shown = state.event_loop.traverse(visit);
            if shown == 0 {
                shown = visit.option(outcome);
            }
            if shown == 0 {
                shown = state.callbacks.traverse(visit);
            }
            match (shown, &state.rare) {
                (0, Some(rare)) => rare.traverse(visit),
                _ => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self.state.with(py, |state| {
            let outcome = match &state.outcome {
                Outcome::Pending => None,
                _ => Some(std::mem::replace(&mut state.outcome, Outcome::Cancelled)),
            };
            state.event_loop.mark(Mark::LogTraceback, false);
            (outcome, state.callbacks.take(), state.rare.take(), state.event_loop.replace(LoopRef::NONE))
        });
        drop(gone);
    }
}

/// The future whose `set_result` the callable is.
#[inline]
pub(crate) fn receiver_of_set_result<'a, 'py>(callable: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    receiver_of(callable, set_result)
}

fn methods(slots: &mut Slots<Future>) {
    slots.no_args(c"result", c"Return the result this future represents.", result);
    slots.no_args(c"exception", c"Return the exception that was set on this future.", exception);
    slots.one_arg(c"set_result", c"Mark the future done and set its result.", set_result);
    slots.one_arg(c"set_exception", c"Mark the future done and set an exception.", set_exception);
    slots.with_args(
        c"add_done_callback",
        c"Add a callback to be run when the future becomes done.",
        add_done_callback,
    );
    slots.one_arg(
        c"remove_done_callback",
        c"Remove all instances of a callback from the \"call when done\" list.",
        |future, callback| {
            check_initialised(future)?;
            Ok(callbacks::remove(future, callback)?.into_pyobject(future.py())?.into_any())
        },
    );
    slots.with_args(c"cancel", c"Cancel the future and schedule callbacks.", cancel);
    slots.no_args(c"cancelled", c"Return True if the future was cancelled.", |future| {
        boolean(future, |outcome| matches!(outcome, Outcome::Cancelled))
    });
    slots.no_args(c"done", c"Return True if the future is done.", |future| {
        boolean(future, |outcome| !matches!(outcome, Outcome::Pending))
    });
    slots.no_args(c"get_loop", c"Return the event loop the Future is bound to.", get_loop);
    slots.no_args(c"_make_cancelled_error", c"Create the CancelledError to raise.", |future| {
        Ok(future
            .value()
            .cancelled_error(future.py())
            .into_value(future.py())
            .into_bound(future.py())
            .into_any())
    });
}

fn attributes(slots: &mut Slots<Future>) {
    slots.getter(c"__class__", |future| {
        let py = future.py();
        if is_exact::<Future>(future.as_any()) || is_exact::<GatheringFuture>(future.as_any()) {
            return names::asyncio_future(py).cloned();
        }
        Ok(future.get_type().into_any())
    });
    slots.getter(c"_state", state);
    slots.getter(c"_loop", |future| {
        let py = future.py();
        Ok(future.value().event_loop(py).unwrap_or_else(|_| py.None().into_bound(py)))
    });
    slots.getter(c"_callbacks", callbacks::list);
    slots.getter(c"_result", |future| {
        outcome_part(future, |outcome| match outcome {
            Outcome::Result(value) => Some(value),
            _ => None,
        })
    });
    slots.getter(c"_exception", |future| {
        outcome_part(future, |outcome| match outcome {
            Outcome::Exception(exception) => Some(exception),
            _ => None,
        })
    });
    marks(slots);
    rare_attributes(slots);
}

/// Attributes that are bits of the state.
fn marks(slots: &mut Slots<Future>) {
    slots.attribute_pair(c"_asyncio_future_blocking", is_blocking, set_blocking);
    slots.attribute_pair(
        c"_log_traceback",
        |future| {
            Ok(to_bool(
                future.py(),
                future.value().state.with(future.py(), |state| state.event_loop.has(Mark::LogTraceback)),
            ))
        },
        |future, value| {
            if value.is_truthy()? {
                return Err(PyValueError::new_err("_log_traceback can only be set to False"));
            }
            future.value().state.with(future.py(), |state| state.event_loop.mark(Mark::LogTraceback, false));
            Ok(())
        },
    );
}

pub(crate) fn is_blocking<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let blocking = future
        .value()
        .state
        .with(py, |state| state.event_loop.has(Mark::Blocking) && !state.event_loop.is_none());
    Ok(to_bool(py, blocking))
}

pub(crate) fn set_blocking(future: &Bound<'_, Future>, value: &Object<'_>) -> PyResult<()> {
    let (py, blocking) = (future.py(), value.is_truthy()?);
    if future.value().state.with(py, |state| state.event_loop.is_none()) {
        return Err(errors::not_initialised("Future"));
    }
    future.value().state.with(py, |state| state.event_loop.mark(Mark::Blocking, blocking));
    Ok(())
}

/// Attributes that few futures have.
fn rare_attributes(slots: &mut Slots<Future>) {
    slots.attribute_pair(
        c"_cancel_message",
        |future| rare_part(future, |rare| rare.cancel_message.as_ref()),
        |future, value| {
            let value = Owned::from(value);
            drop(future.value().state.with(future.py(), |state| state.rare().cancel_message.replace(value)));
            Ok(())
        },
    );
    slots.attribute_pair(
        c"_source_traceback",
        |future| rare_part(future, |rare| rare.source_traceback.as_ref()),
        |future, value| {
            let value = (!value.is_none()).then(|| Owned::from(value));
            let old = future
                .value()
                .state
                .with(future.py(), |state| std::mem::replace(&mut state.rare().source_traceback, value));
            drop(old);
            Ok(())
        },
    );
    slots.getter(c"_asyncio_awaited_by", awaited_by::get);
}

pub(crate) fn to_bool(py: Python<'_>, value: bool) -> Object<'_> {
    PyBool::new(py, value).to_owned().into_any()
}

fn boolean<'py>(future: &Bound<'py, Future>, test: impl FnOnce(&Outcome) -> bool) -> PyResult<Object<'py>> {
    let py = future.py();
    Ok(to_bool(py, future.value().state.with(py, |state| test(&state.outcome))))
}

fn outcome_part<'py>(
    future: &Bound<'py, Future>,
    part: impl FnOnce(&Outcome) -> Option<&Owned>,
) -> PyResult<Object<'py>> {
    let py = future.py();
    let found =
        future.value().state.with(py, |state| part(&state.outcome).map(|object| object.get_bound(py)));
    Ok(found.unwrap_or_else(|| py.None().into_bound(py)))
}

fn rare_part<'py>(
    future: &Bound<'py, Future>,
    part: impl FnOnce(&super::Rare) -> Option<&Owned>,
) -> PyResult<Object<'py>> {
    let py = future.py();
    let found = future
        .value()
        .state
        .with(py, |state| state.rare.as_deref().and_then(part).map(|object| object.get_bound(py)));
    Ok(found.unwrap_or_else(|| py.None().into_bound(py)))
}

fn init(future: &Bound<'_, Future>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Future", names: ["loop"], positional: 0, required: 0 };
    let [event_loop] = args.parse(&PARAMETERS)?;
    future.value().initialise(args.py(), event_loop, &future.get_type())
}

pub(crate) fn repr<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let info = names::future_repr_info(py)?.call1((future,))?;
    named_repr(future.as_any(), &info)
}

/// `<Class part part>`.
pub(crate) fn named_repr<'py>(object: &Object<'py>, info: &Object<'py>) -> PyResult<Object<'py>> {
    let py = object.py();
    let parts = info.cast::<PyList>()?;
    let text = PyString::new(py, " ").call_method1("join", (parts,))?;
    let name = object.get_type().name()?;
    Ok(PyString::new(py, &format!("<{name} {text}>")).into_any())
}

pub(crate) fn state<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let text = state_name(future);
    Ok(match text {
        "PENDING" => pyo3::intern!(py, "PENDING"),
        "CANCELLED" => pyo3::intern!(py, "CANCELLED"),
        _ => pyo3::intern!(py, "FINISHED"),
    }
    .clone()
    .into_any())
}

fn state_name(future: &Bound<'_, Future>) -> &'static str {
    future.value().state.with(future.py(), |state| match state.outcome {
        Outcome::Pending => "PENDING",
        Outcome::Cancelled => "CANCELLED",
        _ => "FINISHED",
    })
}

fn check_initialised(future: &Bound<'_, Future>) -> PyResult<()> {
    future.value().event_loop(future.py()).map(drop)
}

pub(crate) fn result<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    match future.value().poll(py) {
        Polled::Result(value) => Ok(value),
        Polled::Error(error) => Err(error),
        Polled::Pending => Err(errors::invalid_state(py, "Result is not set.")),
    }
}

fn exception<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    enum Found<'py> {
        Pending,
        Cancelled,
        Done(Option<Bound<'py, PyAny>>),
    }
    let py = future.py();
    let found = future.value().state.with(py, |state| {
        let found = match &state.outcome {
            Outcome::Pending => Found::Pending,
            Outcome::Cancelled => Found::Cancelled,
            Outcome::Result(_) => Found::Done(None),
            Outcome::Exception(exception) => Found::Done(Some(exception.get_bound(py))),
        };
        if matches!(found, Found::Done(_)) {
            state.event_loop.mark(Mark::LogTraceback, false);
        }
        found
    });
    match found {
        Found::Pending => Err(errors::invalid_state(py, "Exception is not set.")),
        Found::Cancelled => Err(future.value().cancelled_error(py)),
        Found::Done(exception) => Ok(exception.unwrap_or_else(|| py.None().into_bound(py))),
    }
}

#[cold]
fn already_done(future: &Bound<'_, Future>) -> PyErr {
    let py = future.py();
    match future.repr() {
        Ok(repr) => errors::invalid_state(py, format!("{}: {repr}", state_name(future))),
        Err(error) => error,
    }
}

fn set_result<'py>(future: &Bound<'py, Future>, value: &Object<'py>) -> PyResult<Object<'py>> {
    check_initialised(future)?;
    if super::settle(future, Outcome::Result(value.into()))? {
        Ok(future.py().None().into_bound(future.py()))
    } else {
        Err(already_done(future))
    }
}

fn set_exception<'py>(future: &Bound<'py, Future>, exception: &Object<'py>) -> PyResult<Object<'py>> {
    check_initialised(future)?;
    if !future.value().is_pending(future.py()) {
        return Err(already_done(future));
    }
    if super::set_exception(future, exception)? {
        Ok(future.py().None().into_bound(future.py()))
    } else {
        Err(already_done(future))
    }
}

fn add_done_callback<'py>(future: &Bound<'py, Future>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "add_done_callback", names: ["fn", "context"], positional: 1, required: 1 };
    check_initialised(future)?;
    let (callback, context) = match args.single() {
        Some(callback) => (another(callback), None),
        None => {
            let [callback, context] = args.parse(&PARAMETERS)?;
            (callback.expect("required"), context.filter(|context| !context.is_none()))
        }
    };
    callbacks::add(future, callback, context)?;
    Ok(args.py().None().into_bound(args.py()))
}

pub(crate) const CANCEL: Parameters<1> =
    Parameters { function: "cancel", names: ["msg"], positional: 1, required: 0 };

fn cancel<'py>(future: &Bound<'py, Future>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    check_initialised(future)?;
    let [message] = args.parse(&CANCEL)?;
    let message = message.filter(|message| !message.is_none()).map(Owned::from);
    Ok(to_bool(args.py(), super::cancel(future, message)?))
}

fn get_loop<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    future
        .value()
        .event_loop(future.py())
        .map_err(|_| PyRuntimeError::new_err("Future object is not initialized."))
}

/// `loop.create_future()`.
#[inline]
pub(crate) fn create_native<'py>(event_loop: &Bound<'py, EventLoop>) -> PyResult<Bound<'py, Future>> {
    if event_loop.get().is_plain_and_quiet() {
        return create_with(event_loop.py(), || Future::of_native_loop(event_loop));
    }
    create_initialised(event_loop)
}

#[cold]
fn create_initialised<'py>(event_loop: &Bound<'py, EventLoop>) -> PyResult<Bound<'py, Future>> {
    let py = event_loop.py();
    let future = create(py, Future::empty())?;
    future.value().initialise(py, Some(event_loop.clone().into_any()), &future.get_type())?;
    Ok(future)
}
