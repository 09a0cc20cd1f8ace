//! SocketTransport: TCP and Unix streams.

use std::ffi::CStr;

use pyo3::prelude::*;

use crate::cpython::{NativeClass, Slots, Visit};

pub(crate) struct SocketTransport {}

impl NativeClass for SocketTransport {
    const NAME: &'static CStr = c"tonnage._tonnage.SocketTransport";
    const DOC: &'static CStr = c"A stream transport over a socket.";

    fn empty() -> Option<Self> {
        Some(Self {})
    }

    fn slots(_slots: &mut Slots<Self>) {}

    fn traverse(&self, _visit: &Visit<'_>) -> i32 {
        0
    }

    fn clear(&self, _py: Python<'_>) {}
}

impl SocketTransport {
    /// The socket has bytes, or its end.
    pub(crate) fn readable(_transport: &Bound<'_, Self>) -> PyResult<()> {
        Ok(())
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(_transport: &Bound<'_, Self>) -> PyResult<()> {
        Ok(())
    }

    /// The turn in which it was written to is over.
    pub(crate) fn flush(_transport: &Bound<'_, Self>) -> PyResult<()> {
        Ok(())
    }
}
