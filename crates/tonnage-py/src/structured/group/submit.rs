//! TaskGroup.submit: wait for a slot, and only then make the coroutine and its task.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::caller::{self, Turn};
use super::create::{create_child, event_loop_for, start_child};
use super::{TaskGroup, bounded};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Native, Object, Owned, Visit};
use crate::{errors, running};

pub(crate) type SubmitCoroutine = Coroutine<Submit>;

pub(crate) struct Submit {
    group: Owned<TaskGroup>,
    function: Owned,
    args: Owned<PyTuple>,
    keywords: Option<Owned<PyDict>>,
    turn: Option<Turn>,
}

/// `group.submit(function, *args, **kwargs)`.
pub(super) fn submit<'py>(group: &Bound<'py, TaskGroup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let Some((function, rest)) = args.positional().split_first() else {
        return Err(PyTypeError::new_err("submit() missing 1 required positional argument: 'func'"));
    };
    let keywords = if args.has_keywords() { Some(args.keywords()?.into()) } else { None };
    let args = PyTuple::new(py, rest)?.into();
    Coroutine::create(
        py,
        Submit { group: group.into(), function: function.into(), args, keywords, turn: None },
    )
}

impl Body for Submit {
    const QUALNAME: &'static str = "TaskGroup.submit";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let group = self.group.get_bound(py);
        let Some(turn) = self.turn.take() else {
            awaited?;
            return self.begin(&group);
        };
        match awaited {
            Ok(value) => caller::granted(&group, value)?,
            Err(error) => {
                turn.give_up(&group)?;
                return Err(error);
            }
        }
        if group.value().is_aborting(py) {
            // It was granted the slot in the same turn.
            caller::give_back(&group)?;
            return Err(errors::cancelled(py, None));
        }
        self.run_in_slot(&group)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = [visit.call(&self.group), visit.call(&self.function), visit.call(&self.args)];
        let keywords = self.keywords.as_ref().map_or(0, |keywords| visit.call(keywords));
        let turn = self.turn.as_ref().map_or(0, |turn| turn.traverse(visit));
        shown.into_iter().chain([keywords, turn]).find(|shown| *shown != 0).unwrap_or(0)
    }
}

impl Submit {
    fn begin<'py>(&mut self, group: &Bound<'py, TaskGroup>) -> PyResult<Next<'py>> {
        let py = group.py();
        let event_loop = event_loop_for(group, &py.None().into_bound(py))?;
        if !group.value().is_bounded(py) || self.comes_from_member(group, &event_loop)? {
            let coro = self.call(py)?;
            return create_child(group, &coro, None).map(Next::Return);
        }
        match Turn::take(group, &event_loop)? {
            None => self.run_in_slot(group),
            Some((turn, next)) => {
                self.turn = Some(turn);
                Ok(next)
            }
        }
    }

    /// If a member waited for a slot, its own might be the one that it waits for.
    fn comes_from_member<'py>(
        &self,
        group: &Bound<'py, TaskGroup>,
        event_loop: &Object<'py>,
    ) -> PyResult<bool> {
        Ok(running::task(event_loop)?.is_some_and(|task| bounded::is_member(group, &task)))
    }

    fn run_in_slot<'py>(&mut self, group: &Bound<'py, TaskGroup>) -> PyResult<Next<'py>> {
        let started = self.call(group.py()).and_then(|coro| {
            let event_loop = event_loop_for(group, &coro)?;
            start_child(group, &event_loop, (&coro, None))
        });
        match started {
            Ok(task) => {
                caller::caller_done(group)?;
                Ok(Next::Return(task))
            }
            Err(error) => {
                caller::give_back(group)?;
                Err(error)
            }
        }
    }

    fn call<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let keywords = self.keywords.as_ref().map(|keywords| keywords.bind(py));
        self.function.bind(py).call(self.args.bind(py), keywords)
    }
}
