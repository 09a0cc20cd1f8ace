//! The exceptions of asyncio that the extension raises, with asyncio's texts.

use pyo3::exceptions::{
    PyBaseException, PyBlockingIOError, PyInterruptedError, PyOSError, PyRuntimeError, PyStopIteration,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::reactor::{self, pipe};

use crate::cpython::{Object, compat, told};
use crate::names;

/// `asyncio.InvalidStateError(text)`.
#[cold]
pub(crate) fn invalid_state(py: Python<'_>, text: impl Into<String>) -> PyErr {
    instance(names::invalid_state_error(py), (text.into(),))
}

/// `asyncio.CancelledError()`, or with a message.
pub(crate) fn cancelled(py: Python<'_>, message: Option<&Bound<'_, PyAny>>) -> PyErr {
    match message {
        Some(message) => instance(names::cancelled_error(py), (message,)),
        None => instance(names::cancelled_error(py), ()),
    }
}

/// TimeoutError whose cause and context are `cancelled`.
pub(crate) fn timed_out(cancelled: &Bound<'_, PyBaseException>) -> PyResult<PyErr> {
    let py = cancelled.py();
    let error = names::timeout_error(py)?.call0()?;
    error.setattr(names::__cause__(py), cancelled)?;
    error.setattr(names::__context__(py), cancelled)?;
    Ok(PyErr::from_value(error))
}

/// `asyncio.TimeoutError()`.
pub(crate) fn timeout(py: Python<'_>) -> PyErr {
    instance(names::timeout_error(py), ())
}

/// Is it a CancelledError?
pub(crate) fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    names::cancelled_error(py).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

/// Is the exception a CancelledError?
pub(crate) fn is_cancelled_error(error: &Bound<'_, PyAny>) -> bool {
    names::cancelled_error(error.py()).is_ok_and(|class| error.is_instance(class).unwrap_or(false))
}

/// The exception itself. What the error held beside goes at once, also where nobody tells PyO3 (`told`).
pub(crate) fn into_object(py: Python<'_>, error: PyErr) -> Object<'_> {
    let exception = error.into_value(py).into_bound(py).into_any();
    told();
    exception
}

/// Drops an error of which nobody shall hear.
pub(crate) fn swallow(error: PyErr) {
    drop(error);
    told();
}

/// What leaves a coroutine: StopIteration would pass for its return (PEP 479).
#[inline]
pub(crate) fn of_coroutine(py: Python<'_>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyStopIteration>(py) { raised_stop_iteration(py, error) } else { error }
}

#[cold]
fn raised_stop_iteration(py: Python<'_>, cause: PyErr) -> PyErr {
    let error = PyRuntimeError::new_err("coroutine raised StopIteration");
    error.set_cause(py, Some(cause));
    error
}

/// Must it leave the event loop, instead of being reported?
pub(crate) fn is_exit(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<pyo3::exceptions::PySystemExit>(py)
        || error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py)
}

/// Does it say that a socket would block, or that a signal came first?
pub(crate) fn is_not_ready(py: Python<'_>, error: &PyErr) -> bool {
    // Of one that we make, CPython 3.11 and before choose the class when they make the instance.
    let error = error.value(py);
    error.is_instance_of::<PyBlockingIOError>() || error.is_instance_of::<PyInterruptedError>()
}

/// Is it an OSError with the number EIO?
pub(crate) fn is_input_output(py: Python<'_>, error: &PyErr) -> bool {
    has_number(py, error, &[pipe::GONE])
}

/// Does it say that the kernel cannot wait for one more descriptor at this moment?
pub(crate) fn is_starved(py: Python<'_>, error: &PyErr) -> bool {
    has_number(py, error, &reactor::STARVED)
}

/// Is it an OSError with one of these numbers?
pub(crate) fn has_number(py: Python<'_>, error: &PyErr, numbers: &[i32]) -> bool {
    error.is_instance_of::<PyOSError>(py)
        && error
            .value(py)
            .getattr(names::errno(py))
            .and_then(|number| number.extract())
            .is_ok_and(|number: i32| numbers.contains(&number))
}

/// As `is_exit`, of an exception: it leaves a group bare, whatever else has failed.
pub(crate) fn is_exit_error(error: &Bound<'_, PyAny>) -> bool {
    error.is_instance_of::<pyo3::exceptions::PySystemExit>()
        || error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>()
}

/// `asyncio.QueueEmpty()`.
#[cold]
pub(crate) fn queue_empty(py: Python<'_>) -> PyErr {
    instance(names::queue_empty(py), ())
}

/// `asyncio.QueueFull()`, or with a text.
#[cold]
pub(crate) fn queue_full(py: Python<'_>, text: Option<String>) -> PyErr {
    match text {
        Some(text) => instance(names::queue_full(py), (text,)),
        None => instance(names::queue_full(py), ()),
    }
}

/// `asyncio.QueueShutDown()`.
#[cold]
pub(crate) fn queue_shut_down(py: Python<'_>) -> PyErr {
    instance(compat::queue_shut_down(py), ())
}

/// Why something that is bounded refuses more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The waiting line is full.
    Full,
    /// The wait was too long, or would be.
    Delay,
    /// The wait would be longer than the deadline of who waits.
    Deadline,
    Closed,
    /// The program has too many tasks.
    Tasks,
}

impl Refusal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Delay => "delay",
            Self::Deadline => "deadline",
            Self::Closed => "closed",
            Self::Tasks => "tasks",
        }
    }
}

/// `tonnage.Overloaded`, with the seconds after which it may be worth trying again, and what refuses.
#[cold]
pub(crate) fn overloaded(
    py: Python<'_>,
    text: &str,
    refusal: Refusal,
    retry_after_s: Option<f64>,
    limiter: Option<&str>,
) -> PyErr {
    let create = || {
        let details = PyDict::new(py);
        details.set_item("reason", refusal.name())?;
        details.set_item("retry_after", retry_after_s)?;
        details.set_item("limiter", limiter)?;
        names::overloaded(py)?.call((text,), Some(&details))
    };
    create().map_or_else(|error| error, PyErr::from_value)
}

/// Is it `tonnage.Overloaded`?
pub(crate) fn is_overloaded(py: Python<'_>, error: &PyErr) -> bool {
    names::overloaded(py).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

/// `tonnage.LimiterDeadlock`.
#[cold]
pub(crate) fn deadlock(py: Python<'_>, text: &str) -> PyErr {
    instance(names::limiter_deadlock(py), (text,))
}

pub(crate) fn loop_is_closed() -> PyErr {
    PyRuntimeError::new_err("Event loop is closed")
}

pub(crate) fn not_initialised(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{what} object is not initialized."))
}

fn instance<'py, A>(class: PyResult<&Bound<'py, PyAny>>, args: A) -> PyErr
where
    A: pyo3::call::PyCallArgs<'py>,
{
    match class.and_then(|class| class.call1(args)) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The loop was left behind by a fork, or closed while it ran.
#[cold]
pub(crate) fn lost_reactor() -> PyErr {
    PyRuntimeError::new_err(
        "this event loop has no reactor any more: it was closed, or it belongs to the parent of a forked \
         process; make a new loop in the child",
    )
}

/// The OSError of a system call, of the subclass that fits its number.
#[cold]
pub(crate) fn os_error(error: std::io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return PyErr::from(error) };
    Python::attach(|py| {
        let text = py.import("os").and_then(|os| os.call_method1("strerror", (number,)));
        match text {
            Ok(text) => PyOSError::new_err((number, text.unbind())),
            Err(error) => error,
        }
    })
}
