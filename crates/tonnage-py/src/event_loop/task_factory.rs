//! TaskFactory: what a program set to make the loop's tasks.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::EventLoop;
use crate::cpython::{Args, Object, Owned, Visit};
use crate::names;

pub(super) struct TaskFactory {
    callable: Owned,
    /// May it be called with `name=`?
    takes_name: bool,
}

impl TaskFactory {
    pub(super) fn new(callable: Object<'_>) -> PyResult<Self> {
        let takes_name = gives_all(callable.py()) || takes_name(&callable)?;
        Ok(Self { callable: callable.into(), takes_name })
    }

    pub(super) fn callable<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.callable.get_bound(py)
    }

    pub(super) fn share(&self, py: Python<'_>) -> Self {
        Self { callable: self.callable(py).into(), takes_name: self.takes_name }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.callable)
    }

    /// Hands the factory the arguments that were given. Before 3.13.3 asyncio leaves out what is None, so that
    /// factories there need not know these arguments, and names the task itself; so do we if the factory
    /// cannot.
    pub(super) fn create_task<'py>(
        &self,
        event_loop: &Bound<'py, EventLoop>,
        args: &Args<'_, 'py>,
    ) -> PyResult<Object<'py>> {
        let py = args.py();
        let factory = self.callable.get_bound(py);
        let kwargs = args.keywords()?;
        let coro = coroutine(args, &kwargs)?;
        if gives_all(py) {
            return factory.call((event_loop, coro), Some(&kwargs));
        }
        for optional in [names::name(py), names::context(py), names::eager_start(py)] {
            if kwargs.get_item(optional)?.is_some_and(|value| value.is_none()) {
                kwargs.del_item(optional)?;
            }
        }
        if self.takes_name {
            return factory.call((event_loop, coro), Some(&kwargs));
        }
        let name = kwargs.get_item(names::name(py))?;
        if name.is_some() {
            kwargs.del_item(names::name(py))?;
        }
        let task = factory.call((event_loop, coro), Some(&kwargs))?;
        if let Some(name) = name
            && let Some(set_name) = task.getattr_opt(names::set_name(py))?
        {
            set_name.call1((name,))?;
        }
        Ok(task)
    }
}

/// Takes the coroutine out of the arguments.
fn coroutine<'py>(args: &Args<'_, 'py>, kwargs: &Bound<'py, PyDict>) -> PyResult<Object<'py>> {
    match args.positional() {
        [coro] => Ok(coro.clone()),
        [] => {
            let name = names::coro(args.py());
            let Some(coro) = kwargs.get_item(name)? else {
                return Err(PyTypeError::new_err(
                    "create_task() missing 1 required positional argument: 'coro'",
                ));
            };
            kwargs.del_item(name)?;
            Ok(coro)
        }
        _ => Err(PyTypeError::new_err("create_task() takes exactly 1 positional argument")),
    }
}

/// Must a factory take each argument of `create_task()`? So it is from 3.13.3 on.
fn gives_all(py: Python<'_>) -> bool {
    let version = py.version_info();
    (version.major, version.minor, version.patch) >= (3, 13, 3)
}

/// Asks the signature of a factory. One that has none is taken for one of two arguments.
fn takes_name(factory: &Object<'_>) -> PyResult<bool> {
    let py = factory.py();
    let named = PyDict::new(py);
    named.set_item(names::name(py), py.None())?;
    let bound = names::signature(py)?
        .call1((factory,))
        .and_then(|signature| signature.call_method("bind", (py.None(), py.None()), Some(&named)));
    match bound {
        Ok(_) => Ok(true),
        Err(error) if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
