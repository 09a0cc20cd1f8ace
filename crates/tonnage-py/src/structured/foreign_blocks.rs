//! The innermost blocks of tasks that are not ours: a table beside them, as they have no place for it.
//!
//! Both sides of an entry are weak, so that a block that is never left keeps neither itself nor its task alive;
//! an entry goes when its block is left or its task dies.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakref, PyWeakrefMethods, PyWeakrefReference};

use super::DeadlineBlock;
use crate::cpython::{Object, Owned};
use crate::names;

/// From weak references to tasks to weak references to their innermost blocks.
static INNERMOST: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

pub(super) fn innermost<'py>(task: &Object<'py>) -> PyResult<Option<Bound<'py, DeadlineBlock>>> {
    let py = task.py();
    let Some(table) = INNERMOST.get(py) else { return Ok(None) };
    match table.bind(py).get_item(PyWeakrefReference::new(task)?)? {
        Some(block) => Ok(block.cast::<PyWeakref>()?.upgrade_as::<DeadlineBlock>()?),
        None => Ok(None),
    }
}

pub(super) fn set_innermost(task: &Object<'_>, block: Option<Owned<DeadlineBlock>>) -> PyResult<()> {
    let py = task.py();
    let table = INNERMOST.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    let known = PyWeakrefReference::new(task)?;
    match block {
        Some(block) => {
            let block = PyWeakrefReference::new(block.bind(py))?;
            if table.contains(&known)? {
                return table.set_item(known, block);
            }
            let forget = table.getattr(names::__delitem__(py))?;
            table.set_item(PyWeakrefReference::new_with(task, forget)?, block)
        }
        None if table.contains(&known)? => table.del_item(known),
        None => Ok(()),
    }
}
