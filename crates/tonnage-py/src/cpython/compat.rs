//! The objects of the standard library that another version of CPython has elsewhere.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::names::imported;

imported! {
    /// The dictionary from loop to running task.
    #[cfg(not(Py_3_14))]
    current_tasks = "_asyncio", "_current_tasks";
    #[cfg(Py_3_14)]
    swap_current_task = "_asyncio", "_swap_current_task";
    #[cfg(Py_3_14)]
    current_task = "_asyncio", "current_task";
    /// Also knows functions that asyncio has marked: those of `@asyncio.coroutine` on 3.10, and mocks.
    #[cfg(not(Py_3_14))]
    is_coroutine_function = "asyncio.coroutines", "iscoroutinefunction";
    #[cfg(Py_3_14)]
    is_coroutine_function = "asyncio.coroutines", "_iscoroutinefunction";
}
