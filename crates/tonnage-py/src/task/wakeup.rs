//! TaskWakeup: the callback by which a task waits for a future that is not of a native loop, and
//! its step where the loop is not ours.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Task, step};
use crate::cpython::native_class::create;
use crate::cpython::{
    Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Vectorcall, Visit, told,
};
use crate::names;

pub(crate) struct TaskWakeup {
    pub(crate) vectorcall: Vectorcall<Self>,
    task: Guarded<Option<Owned<Task>>>,
    /// Called with the future that is done; else with nothing.
    takes_future: bool,
}

impl NativeClass for TaskWakeup {
    const NAME: &'static CStr = c"tonnage._tonnage.TaskWakeup";
    const DOC: &'static CStr = c"Wakes a task.";
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.equality(
            |left, right| {
                let py = left.py();
                let address = |wakeup: &Bound<'_, TaskWakeup>| {
                    wakeup.value().task.with(py, |task| task.as_ref().map(|task| task.as_ptr() as usize))
                };
                Ok(address(left) == address(right) && left.value().takes_future == right.value().takes_future)
            },
            |wakeup| {
                Ok(wakeup.value().task.with(wakeup.py(), |task| {
                    // A hash may not be -1.
                    task.as_ref().map_or(0, |task| (task.as_ptr() as isize) >> 4)
                }))
            },
        );
        slots.getter(c"__self__", |wakeup| {
            let py = wakeup.py();
            let task = wakeup.value().task.with(py, |task| task.as_ref().map(|task| task.get_bound(py)));
            Ok(task.map_or_else(|| py.None().into_bound(py), Bound::into_any))
        });
        slots.getter(c"__qualname__", |wakeup| {
            let name = if wakeup.value().takes_future { "Task.task_wakeup" } else { "Task.task_step" };
            Ok(PyString::new(wakeup.py(), name).into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.task.traverse(0, |task| visit.option(task.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.task.with(py, Option::take));
    }
}

impl TaskWakeup {
    fn new(task: &Bound<'_, Task>, takes_future: bool) -> Self {
        let vectorcall = Vectorcall::of(call);
        Self { vectorcall, task: Guarded::new(Some(task.into())), takes_future }
    }

    pub(crate) fn create<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, Self>> {
        create(task.py(), Self::new(task, true))
    }

    pub(super) fn create_step<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, Self>> {
        create(task.py(), Self::new(task, false))
    }
}

impl TaskWakeup {
    /// The task that it wakes.
    pub(crate) fn task<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.task.with(py, |task| task.as_ref().map(|task| task.get_bound(py).into_any()))
    }
}

fn call<'py>(wakeup: &Bound<'py, TaskWakeup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "task_wakeup", names: ["future"], positional: 1, required: 0 };
    let py = args.py();
    let [future] = args.parse(&PARAMETERS)?;
    if future.is_some() != wakeup.value().takes_future {
        return Err(PyTypeError::new_err("task_wakeup() takes the future that is done"));
    }
    let task = wakeup.value().task.with(py, |task| task.as_ref().map(|task| task.get_bound(py)));
    let Some(task) = task else { return Ok(py.None().into_bound(py)) };
    if let Some(future) = future
        && let Err(error) = future.call_method0(names::result(py))
    {
        let error = Owned::from(error.into_value(py).into_bound(py).into_any());
        drop(task.value().future.state.with(py, |state| state.rare().throw_next.replace(error)));
    }
    let stepped = step(&task);
    told();
    stepped?;
    Ok(py.None().into_bound(py))
}
