//! The innermost blocks of tasks that are not ours: a table beside them, as they have no place for it.
//!
//! It knows a task by its address, and the block by a weak reference, so that a block that is never left keeps
//! neither itself nor its task alive. While the block lives and was not left it holds its task, so the address is
//! that of no other; one that has died leaves its entry to the next task at that address.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::DeadlineBlock;
use crate::cpython::{Guarded, Object, Owned};

static INNERMOST: Guarded<BTreeMap<usize, Owned<PyWeakrefReference>>> = Guarded::new(BTreeMap::new());

fn address(task: &Object<'_>) -> usize {
    task.as_ptr() as usize
}

pub(super) fn innermost<'py>(task: &Object<'py>) -> PyResult<Option<Bound<'py, DeadlineBlock>>> {
    let py = task.py();
    let block = INNERMOST.with(py, |table| table.get(&address(task)).map(|block| block.get_bound(py)));
    block.map_or(Ok(None), |block| block.upgrade_as::<DeadlineBlock>())
}

pub(super) fn set_innermost(task: &Object<'_>, block: Option<&Bound<'_, DeadlineBlock>>) -> PyResult<()> {
    let address = address(task);
    let block = block.map(|block| PyWeakrefReference::new(block)).transpose()?.map(Owned::from);
    let old = INNERMOST.with(task.py(), |table| match block {
        Some(block) => table.insert(address, block),
        None => table.remove(&address),
    });
    drop(old);
    Ok(())
}
