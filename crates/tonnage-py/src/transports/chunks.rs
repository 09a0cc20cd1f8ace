//! Chunks: what `write` and `writelines` take, as it is kept until it is sent.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use crate::cpython::Object;
use crate::cpython::buffer::snapshot;

/// Is it of a type that asyncio's transports send?
#[inline]
pub(super) fn is_data(data: &Object<'_>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
}

/// The lines as chunks, without the empty ones; all else than `bytes` is copied.
pub(super) fn of_lines(lines: &Object<'_>) -> PyResult<Vec<PyBackedBytes>> {
    let mut chunks = vec![];
    for line in lines.try_iter()? {
        let line = line?;
        let chunk = match line.cast_into::<PyBytes>() {
            Ok(bytes) => bytes,
            Err(other) => snapshot(PyMemoryView::from(&other.into_inner())?.as_any())?,
        };
        if !chunk.as_bytes().is_empty() {
            chunks.push(PyBackedBytes::from(chunk));
        }
    }
    Ok(chunks)
}
