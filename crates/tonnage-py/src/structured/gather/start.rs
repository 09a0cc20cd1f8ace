//! What gather was given becomes futures: each argument once, all of one loop.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, Owned, coroutine};
use crate::structured::{deadline, ensure_future};
use crate::task::Task;
use crate::{future, names, task};

/// What arguments are given more than once.
pub(super) struct Repeated<'a, 'py> {
    pub(super) distinct: Vec<&'a Object<'py>>,
    /// For each argument, its place among the distinct ones.
    pub(super) order: Vec<u32>,
}

/// Finds arguments that are the same, or equal; nothing if there are none, as nearly always.
pub(super) fn repeated<'a, 'py>(objects: &'a [Object<'py>]) -> PyResult<Option<Repeated<'a, 'py>>> {
    let [first, _, ..] = objects else { return Ok(None) };
    if objects.iter().all(|object| coroutine::is_coroutine_object(object) || future::is_ours(object)) {
        // These are equal to themselves only.
        let mut addresses: Vec<_> = objects.iter().map(|object| object.as_ptr() as usize).collect();
        addresses.sort_unstable();
        if addresses.windows(2).all(|pair| pair[0] != pair[1]) {
            return Ok(None);
        }
    }
    let places = PyDict::new(first.py());
    let mut repeated = Repeated { distinct: vec![], order: Vec::with_capacity(objects.len()) };
    for object in objects {
        let place = match places.get_item(object)? {
            Some(place) => place.extract()?,
            None => {
                let place =
                    u32::try_from(repeated.distinct.len()).expect("fewer than four billion arguments");
                places.set_item(object, place)?;
                repeated.distinct.push(object);
                place
            }
        };
        repeated.order.push(place);
    }
    Ok(if repeated.distinct.len() == objects.len() { None } else { Some(repeated) })
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
