//! Eager start: task factories that run the first step of a task at once.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::PyDict;

use super::Task;
use crate::cpython::Object;
use crate::cpython::native_class::type_object;
use crate::names;

/// A task factory for `loop.set_task_factory()` that starts tasks eagerly.
#[pyclass(frozen, module = "tonnage._tonnage")]
pub(crate) struct EagerTaskFactory {
    constructor: Py<PyAny>,
}

#[pymethods]
impl EagerTaskFactory {
    #[pyo3(signature = (r#loop, coro, **kwargs))]
    fn __call__<'py>(
        &self,
        r#loop: &Object<'py>,
        coro: &Object<'py>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Object<'py>> {
        start(self.constructor.bind(coro.py()), r#loop, coro, kwargs)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.constructor)
    }
}

fn start<'py>(
    constructor: &Object<'py>,
    event_loop: &Object<'py>,
    coro: &Object<'py>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Object<'py>> {
    let py = coro.py();
    let kwargs = kwargs.unwrap_or_else(|| PyDict::new(py));
    kwargs.set_item(names::r#loop(py), event_loop)?;
    // `eager_start=None` is what a caller passes on who was not told.
    let told = kwargs.get_item(names::eager_start(py))?.is_some_and(|told| !told.is_none());
    if !told {
        kwargs.set_item(names::eager_start(py), true)?;
    }
    constructor.call((coro,), Some(&kwargs))
}

/// Return a task factory that starts tasks of another class eagerly.
#[pyfunction]
pub(crate) fn create_eager_task_factory(custom_task_constructor: Object<'_>) -> PyResult<EagerTaskFactory> {
    if !custom_task_constructor.is_callable() {
        let text = format!("custom_task_constructor must be callable, got {}", custom_task_constructor.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    Ok(EagerTaskFactory { constructor: custom_task_constructor.unbind() })
}

/// Create a task that starts running at once; for `loop.set_task_factory()`.
#[pyfunction]
#[pyo3(signature = (r#loop, coro, **kwargs))]
pub(crate) fn eager_task_factory<'py>(
    r#loop: &Object<'py>,
    coro: &Object<'py>,
    kwargs: Option<Bound<'py, PyDict>>,
) -> PyResult<Object<'py>> {
    start(type_object::<Task>(coro.py()).as_any(), r#loop, coro, kwargs)
}
