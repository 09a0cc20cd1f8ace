//! The queue's texts.
//!
//! Same as asyncio: CPython 3.15, Lib/asyncio/queues.py, `Queue._format`.

use std::fmt::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::class::Queue;
use super::init;
use crate::cpython::{Native, Object};
use crate::names;

pub(super) fn repr<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let (class, state) = parts(queue)?;
    let text = format!("<{class} at {:?} {state}>", queue.as_ptr());
    Ok(PyString::new(queue.py(), &text).into_any())
}

pub(super) fn str<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let (class, state) = parts(queue)?;
    Ok(PyString::new(queue.py(), &format!("<{class} {state}>")).into_any())
}

fn parts<'py>(queue: &Bound<'py, Queue>) -> PyResult<(Bound<'py, PyString>, Object<'py>)> {
    Ok((queue.get_type().name()?, queue.call_method0(names::_format(queue.py()))?))
}

/// `_format()`.
pub(super) fn state(queue: &Bound<'_, Queue>) -> PyResult<String> {
    let py = queue.py();
    let mut text = format!("maxsize={}", init::maxsize(queue)?.repr()?);
    let storage = queue.value().state.with(py, |state| state.storage.as_ref().map(|it| it.get_bound(py)));
    if let Some(storage) = storage
        && storage.is_truthy()?
    {
        let items = PyList::empty(py);
        for item in storage.try_iter()? {
            items.append(item?)?;
        }
        write(&mut text, format_args!(" _queue={}", items.repr()?));
    }
    queue.value().state.with(py, |state| {
        let counts = [state.getters.waiters.len(), state.putters.waiters.len()];
        for (name, count) in ["getters", "putters"].into_iter().zip(counts) {
            if count > 0 {
                write(&mut text, format_args!(" _{name}[{count}]"));
            }
        }
        if state.unfinished > 0 {
            write(&mut text, format_args!(" tasks={}", state.unfinished));
        }
        if state.is_shutdown {
            text.push_str(" shutdown");
        }
    });
    Ok(text)
}

fn write(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string does not fail");
}
