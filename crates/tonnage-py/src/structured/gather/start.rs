//! What gather was given becomes futures: each argument once, all of one loop.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, Owned};
use crate::structured::{deadline, ensure_future};
use crate::task::Task;
use crate::{future, names, task};

/// What `gather()` of nothing gives: a future that has an empty list.
pub(super) fn nothing_to_gather(py: Python<'_>) -> PyResult<Object<'_>> {
    let event_loop = ensure_future::current_loop(py)?;
    let outer = event_loop.call_method0(names::create_future(py))?;
    outer.call_method1(names::set_result(py), (PyList::empty(py),))?;
    Ok(outer)
}

pub(super) struct Started<'py> {
    pub(super) children: Vec<Owned>,
    pub(super) event_loop: Option<Object<'py>>,
    /// What the children inherit.
    deadline: Option<f64>,
    /// Why there are no more children.
    pub(super) refused: Option<PyErr>,
}

/// Makes a future of each object, all of the same loop.
pub(super) fn start<'a, 'py: 'a>(
    objects: impl ExactSizeIterator<Item = &'a Object<'py>>,
    event_loop: Option<Object<'py>>,
) -> Started<'py> {
    let children = Vec::with_capacity(objects.len());
    let mut started = match event_loop.as_ref().map_or(Ok(None), deadline::of_creator) {
        Ok(deadline) => Started { children, event_loop, deadline, refused: None },
        Err(refused) => {
            return Started { children, event_loop: None, deadline: None, refused: Some(refused) };
        }
    };
    for object in objects {
        if let Err(error) = started.start(object) {
            started.refused = Some(error);
            break;
        }
    }
    started
}

impl<'py> Started<'py> {
    fn start(&mut self, object: &Object<'py>) -> PyResult<()> {
        let child = ensure_future::child_of(object, self.event_loop.as_ref(), self.deadline)?;
        if self.event_loop.is_none() {
            self.event_loop = Some(future::loop_of(&child)?);
        }
        if !child.is(object) {
            // The caller has no hold on it, and so cannot be blamed if it is lost.
            keep_quiet_when_lost(&child)?;
        }
        self.children.push(child.into());
        Ok(())
    }
}

/// The program has too many tasks for one of the objects: those that became tasks before are cancelled, and the
/// coroutines after it are closed, as nobody would wait for them.
#[cold]
pub(super) fn call_off<'a, 'py: 'a>(
    objects: impl Iterator<Item = &'a Object<'py>>,
    children: &[Owned],
) -> PyResult<()> {
    for (place, object) in objects.enumerate() {
        match children.get(place) {
            Some(child) if !child.is(object) => drop(task::cancel_any(child.bind(object.py()), None)?),
            None if place > children.len() && ensure_future::is_coroutine(object)? => {
                object.call_method0(names::close(object.py()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn keep_quiet_when_lost(child: &Object<'_>) -> PyResult<()> {
    let py = child.py();
    if is_exact::<Task>(child) {
        child.cast::<Task>()?.value().state.with(py, |state| state.log_destroy_pending = false);
        return Ok(());
    }
    child.setattr(names::_log_destroy_pending(py), false)
}
