//! What the repr of a task tells: as asyncio 3.15 has it, on each version.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::Task;
use crate::cpython::{Native, Object, recursion};
use crate::names;

/// The parts of the repr: those of a future, and the task's own between them.
pub(super) fn info<'py>(task: &Bound<'py, Task>) -> PyResult<Object<'py>> {
    let py = task.py();
    let info = names::future_repr_info(py)?.call1((task,))?.cast_into::<PyList>()?;
    let asked = |name| task.as_any().call_method0(name);
    if asked(names::cancelling(py))?.is_truthy()? && !asked(names::done(py))?.is_truthy()? {
        info.set_item(0, "cancelling")?;
    }
    info.insert(1, format!("name={}", asked(names::get_name(py))?.repr()?))?;
    let (coro, waiter) = task.value().state.with(py, |state| {
        let [coro, waiter] =
            [&state.coro, &state.waiter].map(|slot| slot.as_ref().map(|it| it.get_bound(py)));
        (coro, waiter)
    });
    if let Some(waiter) = waiter {
        // A task may wait for a task that waits for a task, and so on.
        let repr = recursion::checked(py, c" while getting the repr of a task", || waiter.repr())?;
        info.insert(2, format!("wait_for={repr}"))?;
    }
    if let Some(coro) = coro {
        let text = names::format_coroutine(py)?.call1((coro,))?;
        info.insert(2, format!("coro=<{}>", text.str()?))?;
    }
    Ok(info.into_any())
}
