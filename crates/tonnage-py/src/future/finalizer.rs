//! What a future says when it goes and nobody has looked at its exception.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Future, Outcome};
use crate::cpython::{Mark, Native, Object};
use crate::names;

pub(crate) fn report_unretrieved(future: &Bound<'_, Future>) {
    let py = future.py();
    let unseen = future.value().state.with(py, |state| {
        state.event_loop.mark(Mark::Finalized, true);
        let Outcome::Exception(exception) = &state.outcome else { return None };
        let exception = exception.get_bound(py);
        let is_unseen = state.event_loop.has(Mark::LogTraceback);
        state.event_loop.mark(Mark::LogTraceback, false);
        is_unseen.then_some(exception)
    });
    let Some(exception) = unseen else { return };
    if let Err(error) = report(future, exception) {
        error.write_unraisable(py, Some(future));
    }
}

fn report<'py>(future: &Bound<'py, Future>, exception: Object<'py>) -> PyResult<()> {
    let py = future.py();
    let details = PyDict::new(py);
    let name = future.get_type().name()?;
    details.set_item("message", format!("{name} exception was never retrieved"))?;
    details.set_item("exception", exception)?;
    details.set_item("future", future)?;
    add_source_traceback(future, &details)?;
    let event_loop = future.value().event_loop(py)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}

pub(crate) fn add_source_traceback(future: &Bound<'_, Future>, details: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = future.py();
    let traceback = future.value().state.with(py, |state| {
        state
            .rare
            .as_ref()
            .and_then(|rare| rare.source_traceback.as_ref().map(|traceback| traceback.get_bound(py)))
    });
    match traceback {
        Some(traceback) => details.set_item("source_traceback", traceback),
        None => Ok(()),
    }
}
