//! ensure_future and create_task: how a coroutine becomes a task of a loop of any kind.
//!
//! The loop makes its tasks itself: its `create_task` is called, as an attribute of the loop may be
//! overridden by a subclass or set on the object. A loop of ours comes from there to its native part with
//! nothing of Python in between.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::deadline;
use crate::cpython::{Args, Object, Parameters, call, coroutine};
use crate::event_loop::EventLoop;
use crate::future;
use crate::task;
use crate::{names, running};

/// `event_loop.create_task(coro)`.
#[inline]
pub(crate) fn spawn<'py>(event_loop: &Object<'py>, coro: &Object<'py>) -> PyResult<Object<'py>> {
    if let Some(native) = EventLoop::bound(event_loop)
        && native.get().spawns_directly(coro.py())
    {
        return Ok(task::create_plain(native, coro, None, 0)?.into_any());
    }
    call::method(event_loop, names::create_task(coro.py()), coro)
}

/// As `spawn`, for an owner: the child inherits the deadline of its creator.
#[inline]
pub(crate) fn spawn_child<'py>(event_loop: &Object<'py>, coro: &Object<'py>) -> PyResult<Object<'py>> {
    deadline::hand_down(deadline::of_creator(event_loop)?, coro, || spawn(event_loop, coro))
}

/// The coroutine and the options of a call `create_task(coro, **options)`.
pub(super) fn called_with<'py>(args: &Args<'_, 'py>) -> PyResult<(Object<'py>, Bound<'py, PyDict>)> {
    let options = args.keywords()?;
    let coro = match args.positional() {
        [coro] => coro.clone(),
        [] => {
            let name = names::coro(args.py());
            let Some(coro) = options.get_item(name)? else { return Err(no_coro()) };
            options.del_item(name)?;
            coro
        }
        more => return Err(too_many(more.len())),
    };
    Ok((coro, options))
}

/// `event_loop.create_task(coro, **options)` for an owner. Loops of versions and makers that do not know an option
/// yet are not bothered with its default.
pub(super) fn spawn_child_with<'py>(
    event_loop: &Object<'py>,
    coro: &Object<'py>,
    options: &Bound<'py, PyDict>,
) -> PyResult<Object<'py>> {
    let deadline = deadline::of_creator(event_loop)?;
    deadline::hand_down(deadline, coro, || spawn_with(event_loop, coro, options))
}

fn spawn_with<'py>(
    event_loop: &Object<'py>,
    coro: &Object<'py>,
    options: &Bound<'py, PyDict>,
) -> PyResult<Object<'py>> {
    let py = coro.py();
    if EventLoop::of_any(event_loop).is_none() {
        for (name, value) in &options.copy()? {
            if value.is_none() {
                options.del_item(name)?;
            }
        }
    }
    event_loop.call_method(names::create_task(py), (coro,), Some(options))
}

#[cold]
fn no_coro() -> PyErr {
    PyTypeError::new_err("create_task() missing 1 required positional argument: 'coro'")
}

#[cold]
fn too_many(given: usize) -> PyErr {
    PyTypeError::new_err(format!("create_task() takes 1 positional argument but {given} were given"))
}

/// `asyncio.create_task(coro, **kwargs)`.
pub(super) fn create_task<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    // Before the running loop is asked for, as a call of a Python function checks its arguments first.
    match args.positional().len() {
        0 if !args.has_keywords() => return Err(no_coro()),
        0 | 1 => {}
        more => return Err(too_many(more)),
    }
    let event_loop = running::event_loop(args.py())?;
    if let Some(coro) = args.single() {
        return call::method(&event_loop, names::create_task(args.py()), coro);
    }
    let (coro, options) = called_with(&args)?;
    spawn_with(&event_loop, &coro, &options)
}

/// `asyncio.ensure_future(coro_or_future, *, loop=None)`.
pub(super) fn ensure_future<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> = Parameters {
        function: "ensure_future",
        names: ["coro_or_future", "loop"],
        positional: 1,
        required: 1,
    };
    let [object, event_loop] = args.parse(&PARAMETERS)?;
    let event_loop = event_loop.filter(|event_loop| !event_loop.is_none());
    future_of(&object.expect("required"), event_loop.as_ref())
}

/// The future that `object` is, or a task of `event_loop` that runs it; of the current loop if there is none.
pub(super) fn future_of<'py>(
    object: &Object<'py>,
    event_loop: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    child_of(object, event_loop, None)
}

/// As `future_of`, for an owner: a task that is made inherits the deadline.
pub(super) fn child_of<'py>(
    object: &Object<'py>,
    event_loop: Option<&Object<'py>>,
    deadline: Option<f64>,
) -> PyResult<Object<'py>> {
    let kind = kind_of(object)?;
    if kind == Kind::Future {
        check_loop(object, event_loop)?;
        return Ok(object.clone());
    }
    let event_loop = match event_loop {
        Some(event_loop) => event_loop.clone(),
        None => current_loop(object.py())?,
    };
    task_of((object, kind), &event_loop, deadline)
}

/// What can be awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Future,
    Coroutine,
    Awaitable,
}

pub(super) fn kind_of(object: &Object<'_>) -> PyResult<Kind> {
    if coroutine::is_coroutine_object(object) {
        return Ok(Kind::Coroutine);
    }
    if future::is_future(object)? {
        return Ok(Kind::Future);
    }
    if is_coroutine(object)? {
        return Ok(Kind::Coroutine);
    }
    if names::is_awaitable(object.py())?.call1((object,))?.is_truthy()? {
        return Ok(Kind::Awaitable);
    }
    Err(PyTypeError::new_err("An asyncio.Future, a coroutine or an awaitable is required"))
}

/// Refuses a future of another loop.
pub(super) fn check_loop(future: &Object<'_>, event_loop: Option<&Object<'_>>) -> PyResult<()> {
    let Some(event_loop) = event_loop else { return Ok(()) };
    if future::loop_of(future)?.is(event_loop) {
        return Ok(());
    }
    Err(PyValueError::new_err(
        "The future belongs to a different loop than the one specified as the loop argument",
    ))
}

/// A task that runs what is no future, and inherits the deadline.
pub(super) fn task_of<'py>(
    (object, kind): (&Object<'py>, Kind),
    event_loop: &Object<'py>,
    deadline: Option<f64>,
) -> PyResult<Object<'py>> {
    let py = object.py();
    let spawn = |coro: &Object<'py>| deadline::hand_down(deadline, coro, || spawn(event_loop, coro));
    if kind == Kind::Awaitable {
        return spawn(&names::wrap_awaitable(py)?.call1((object,))?);
    }
    let spawned = spawn(object);
    if let Err(error) = &spawned
        && error.is_instance_of::<PyRuntimeError>(py)
    {
        object.call_method0(names::close(py))?;
    }
    spawned
}

/// The running loop, or what asyncio takes for the current one where none runs.
pub(super) fn current_loop(py: Python<'_>) -> PyResult<Object<'_>> {
    match running::event_loop_or_none(py)? {
        Some(event_loop) => Ok(event_loop),
        None => call::no_args(names::get_event_loop(py)?),
    }
}

/// As `asyncio.iscoroutine` of 3.12 and later, to which a generator is none.
pub(super) fn is_coroutine(object: &Object<'_>) -> PyResult<bool> {
    if coroutine::is_coroutine_object(object) {
        return Ok(true);
    }
    let py = object.py();
    Ok(!coroutine::is_generator(object) && names::is_coroutine(py)?.call1((object,))?.is_truthy()?)
}
