//! What a transport of any kind tells others: callbacks for the loop, errors, lines of asyncio's log.

use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::cpython::Object;
use crate::event_loop::EventLoop;
use crate::names;

/// `loop.call_soon(callback, *args, context=in_context)`.
pub(super) fn call_soon<'py>(
    event_loop: &Bound<'py, EventLoop>,
    in_context: Option<&Object<'py>>,
    callback: &Object<'py>,
    args: &[&Object<'py>],
) -> PyResult<()> {
    EventLoop::call_soon(event_loop, callback, args, in_context.cloned())
}

/// `protocol.connection_lost(exception)`, if there is a protocol.
pub(super) fn tell_of_end(protocol: &Object<'_>, exception: &Object<'_>) -> PyResult<()> {
    if protocol.is_none() {
        return Ok(());
    }
    protocol.call_method1(names::connection_lost(protocol.py()), (exception,)).map(drop)
}

/// Whom an error of a transport is told to, and what about.
pub(super) struct Report<'a, 'py> {
    pub(super) transport: &'a Object<'py>,
    pub(super) event_loop: Option<Bound<'py, EventLoop>>,
    pub(super) protocol: Object<'py>,
}

impl Report<'_, '_> {
    /// Tells the loop's exception handler, or the unraisable hook once there is no loop any more.
    #[cold]
    pub(super) fn send(self, message: &str, error: PyErr) -> PyResult<()> {
        let Self { transport, event_loop, protocol } = self;
        let py = transport.py();
        let Some(event_loop) = event_loop else {
            error.write_unraisable(py, Some(transport));
            return Ok(());
        };
        let details = PyDict::new(py);
        details.set_item("message", message)?;
        details.set_item("exception", error.into_value(py))?;
        details.set_item("transport", transport)?;
        details.set_item("protocol", protocol)?;
        event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
    }

    /// Tells of an error that ends the transport; one that is expected is no news, and only logged in debug mode.
    #[cold]
    pub(super) fn send_fatal(self, message: &str, error: PyErr, is_expected: bool) -> PyResult<()> {
        if !is_expected {
            return self.send(message, error);
        }
        let transport = self.transport;
        let py = transport.py();
        if self.event_loop.is_none_or(|event_loop| !event_loop.get().debug()) {
            return Ok(());
        }
        let kwargs = PyDict::new(py);
        kwargs.set_item("exc_info", error.value(py))?;
        let args = ("%r: %s", transport, message);
        names::asyncio_logger(py)?.call_method(names::debug(py), args, Some(&kwargs)).map(drop)
    }
}

/// In debug mode: `logger.debug(format, transport)`, or another level.
#[inline]
pub(super) fn log(
    transport: &Object<'_>,
    event_loop: &Bound<'_, EventLoop>,
    level: &Bound<'_, PyString>,
    format: &str,
) -> PyResult<()> {
    if !event_loop.get().debug() {
        return Ok(());
    }
    names::asyncio_logger(transport.py())?.call_method1(level, (format, transport)).map(drop)
}

/// `logger.warning(text)`.
#[cold]
pub(super) fn warn(py: Python<'_>, text: &str) -> PyResult<()> {
    names::asyncio_logger(py)?.call_method1(names::warning(py), (text,)).map(drop)
}

/// An open transport was dropped.
pub(super) fn warn_unclosed(transport: &Object<'_>) -> PyResult<()> {
    let py = transport.py();
    let text = format!("unclosed transport {}", transport.repr()?);
    let kwargs = PyDict::new(py);
    kwargs.set_item("source", transport)?;
    let category = py.get_type::<PyResourceWarning>();
    names::warn(py)?.call((text, category), Some(&kwargs)).map(drop)
}
