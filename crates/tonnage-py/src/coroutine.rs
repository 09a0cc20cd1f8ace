//! Coroutine: an `async def` that is written in Rust.
//!
//! A `Body` is what runs between two awaits, with its variables as fields; a `Coroutine<Body>` is the object
//! around it that `await`, tasks and the collector see: it has `send`, `throw` and `close`, says so when it is
//! never awaited, and is closed when it goes while it waits, so that a body always comes to its end.
//! Invariants: the state is entered while the body runs, so every access to it says what it does then; what is
//! awaited gets what is sent and thrown, as under `yield from` (PEP 380). Each kind of body is a class of its
//! own, listed in the fence's `classes.rs`.

use std::ffi::CStr;

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::coroutine_iter::CoroutineIter;
use crate::cpython::native_class::create_with;
use crate::cpython::{
    Guarded, Native, NativeClass, NativeLayout, Object, Owned, PlainDrop, Slots, Step, Visit, context,
    coroutine, recursion,
};
use crate::{errors, future, names};

/// What a coroutine does between two awaits.
pub(crate) trait Body: Sized + Send + Sync + 'static {
    /// The name in reprs and warnings, as `Lock.acquire`.
    const QUALNAME: &'static str;
    /// May it keep other coroutines or futures alive, in a chain so long that dropping it needs care?
    const IS_LINK: bool = false;

    /// Runs to the next await, or to the end. `awaited` is how the last await ended; at first it is None.
    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>>;

    /// Ends at the first resume, if it need not wait; nothing: it did nothing, and `resume` follows.
    #[inline]
    fn at_once<'py>(&mut self, _py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        Ok(None)
    }

    /// As the first `resume`, of what awaits one coroutine of the interpreter: that coroutine. Nothing: it did nothing,
    /// and `resume` follows.
    #[inline(always)]
    fn awaits<'py>(&mut self, _py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        Ok(None)
    }

    /// As `resume` with what such a coroutine has given: how the body ends. As an error: it did nothing, and `resume`
    /// follows.
    #[inline(always)]
    fn ends<'py>(
        &mut self,
        _py: Python<'py>,
        given: Object<'py>,
    ) -> Result<PyResult<Object<'py>>, Object<'py>> {
        Err(given)
    }

    /// The context in which what it awaits runs; nothing: that of the task.
    #[inline]
    fn context(&self) -> Option<&Owned> {
        None
    }

    /// An error was thrown before it began: it lets go of what it has, and ends.
    fn refuse(&mut self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    /// Shows each reference of the body to the collector.
    fn traverse(&self, visit: &Visit<'_>) -> i32;
}

/// How a body comes back.
pub(crate) enum Next<'py> {
    /// It awaits the object.
    Await(Object<'py>),
    /// It lets all others run for a turn of the loop.
    Yield,
    Return(Object<'py>),
}

impl<'py> Next<'py> {
    /// The body ends with None.
    pub(crate) fn none(py: Python<'py>) -> Self {
        Self::Return(py.None().into_bound(py))
    }
}

pub(crate) struct Coroutine<B> {
    state: Guarded<State<B>>,
}

struct State<B> {
    /// Nothing once it has ended.
    body: Option<B>,
    begun: bool,
    finalized: bool,
    /// Nothing before it begins, and while it only lets others run.
    awaited: Option<Owned>,
}

impl<B: Body> Coroutine<B>
where
    Self: NativeClass,
{
    pub(crate) fn create(py: Python<'_>, body: B) -> PyResult<Object<'_>> {
        Self::create_with(py, || body)
    }

    /// As `create`, of a body that is made where it is to stay. `body` must not run Python code.
    #[inline(always)]
    pub(crate) fn create_with(py: Python<'_>, body: impl FnOnce() -> B) -> PyResult<Object<'_>> {
        let state = || State { body: Some(body()), begun: false, finalized: false, awaited: None };
        Ok(create_with(py, || Self { state: Guarded::new(state()) })?.into_any())
    }
}

impl<B: Body> NativeClass for Coroutine<B>
where
    Self: NativeLayout,
{
    const NAME: &'static CStr = c"tonnage._tonnage.coroutine";
    const DOC: &'static CStr = c"A coroutine that is written in Rust.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;
    const HIDES_NEXT: bool = true;
    const PLAIN_DROP: PlainDrop = PlainDrop::NotAtAll;

    fn is_link(&self, py: Python<'_>) -> bool {
        // What has ended holds nothing.
        B::IS_LINK && self.state.with(py, |state| state.body.is_some())
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.body.is_some())
    }

    fn may_be_finalized(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.finalized)
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        // What has ended awaits nothing.
        self.state.with(py, |state| state.body.is_none() && !state.finalized)
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.coroutine(next, next_apart, |this| CoroutineIter::create(this.as_any()));
        slots.finalizer(finalize);
        slots.repr(|this| Ok(coroutine_repr(B::QUALNAME, this.as_any())));
        slots.one_arg(c"send", c"Resume it.", |this, _value| coroutine::sent(next_apart(this)?));
        slots.with_args(c"throw", c"Raise an exception where it waits.", |this, args| {
            coroutine::sent(throw(this, coroutine::thrown(&args)?)?)
        });
        slots.no_args(c"close", c"Raise GeneratorExit where it waits, so that it ends.", close);
        slots.getter(c"__qualname__", |this| Ok(PyString::new(this.py(), B::QUALNAME).into_any()));
        slots.getter(c"__name__", |this| {
            let name = B::QUALNAME.rsplit('.').next().unwrap_or(B::QUALNAME);
            Ok(PyString::new(this.py(), name).into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| match state.body.as_ref().map_or(0, |body| body.traverse(visit)) {
            0 => visit.option(state.awaited.as_deref()),
            shown => shown,
        })
    }

    /// The finalizer has ended the body before the collector comes to this.
    fn clear(&self, py: Python<'_>) {
        let gone = self.state.enter(py, || None, |state| Some((state.body.take(), state.awaited.take())));
        drop(gone);
    }
}

/// Resumes it.
#[inline(always)]
fn next<'py, B: Body>(this: &Bound<'py, Coroutine<B>>) -> PyResult<Step<'py>>
where
    Coroutine<B>: NativeClass,
{
    let py = this.py();
    let Some(mut state) = this.value().state.try_enter(py) else { return Err(is_running()) };
    if !std::mem::replace(&mut state.begun, true)
        && let Some(body) = &mut state.body
    {
        match body.at_once(py) {
            Ok(None) => {}
            Ok(Some(value)) => {
                state.body = None;
                return Ok(Step::Returned(value));
            }
            Err(error) => return Err(state.fail(py, error)),
        }
    }
    state.go_on(py)
}

/// As `next`, which is compiled into the slot that `await` uses.
#[inline(never)]
fn next_apart<'py, B: Body>(this: &Bound<'py, Coroutine<B>>) -> PyResult<Step<'py>>
where
    Coroutine<B>: NativeClass,
{
    next(this)
}

/// Raises `error` in what it awaits, or else in the body.
fn throw<'py, B: Body>(this: &Bound<'py, Coroutine<B>>, error: PyErr) -> PyResult<Step<'py>>
where
    Coroutine<B>: NativeClass,
{
    let py = this.py();
    this.value().state.enter(py, || Err(is_running()), |state| state.throw(py, error))
}

impl<B: Body> State<B> {
    /// It ends with an error.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, py: Python<'_>, error: PyErr) -> PyErr {
        self.body = None;
        errors::of_coroutine(py, error)
    }

    /// Resumes what it awaits, and then the body. Apart, so that those who end at once do not prepare for it.
    #[inline(never)]
    fn go_on<'py>(&mut self, py: Python<'py>) -> PyResult<Step<'py>> {
        let awaited = match self.awaited.take() {
            Some(awaited) => awaited.into_bound(py),
            None => match self.body.as_mut().map_or(Ok(None), |body| body.awaits(py)) {
                Ok(Some(coroutine)) => coroutine,
                Ok(None) => return self.run(py, Ok(py.None().into_bound(py))),
                Err(error) => return Err(self.fail(py, error)),
            },
        };
        let given = match within(self.body.as_ref(), py, || step(&awaited)) {
            Ok(Step::Yielded(value)) => {
                self.awaited = Some(awaited.into());
                return Ok(Step::Yielded(value));
            }
            Ok(Step::Returned(value)) => value,
            Err(error) => {
                drop(awaited);
                return self.run(py, Err(error));
            }
        };
        drop(awaited);
        let Some(body) = &mut self.body else { return Err(has_ended()) };
        match body.ends(py, given) {
            Ok(Ok(value)) => {
                self.body = None;
                Ok(Step::Returned(value))
            }
            Ok(Err(error)) => Err(self.fail(py, error)),
            Err(given) => self.run(py, Ok(given)),
        }
    }

    fn throw<'py>(&mut self, py: Python<'py>, error: PyErr) -> PyResult<Step<'py>> {
        if !self.begun || self.body.is_none() {
            self.begun = true;
            let refused = self.body.as_mut().map_or(Ok(()), |body| body.refuse(py));
            self.body = None;
            return Err(errors::of_coroutine(py, refused.err().unwrap_or(error)));
        }
        let Some(awaited) = self.awaited.take() else { return self.run(py, Err(error)) };
        let awaited = awaited.into_bound(py);
        let is_ours = future::is_ours(&awaited);
        if error.is_instance_of::<PyGeneratorExit>(py) {
            let closed =
                if is_ours { Ok(()) } else { within(self.body.as_ref(), py, || close_awaited(&awaited)) };
            return self.run(py, Err(closed.err().unwrap_or(error)));
        }
        if is_ours {
            return self.run(py, Err(error));
        }
        let step = match awaited.hasattr(names::throw(py)) {
            Ok(true) => {
                let exception = errors::into_object(py, error);
                within(self.body.as_ref(), py, || deeper(py, || coroutine::throw(&awaited, &exception)))
            }
            Ok(false) => Err(error),
            Err(failed) => Err(failed),
        };
        match step {
            Ok(Step::Yielded(value)) => {
                self.awaited = Some(awaited.into());
                Ok(Step::Yielded(value))
            }
            Ok(Step::Returned(value)) => self.run(py, Ok(value)),
            Err(error) => self.run(py, Err(error)),
        }
    }

    /// Runs the body until something that it awaits waits, or it ends.
    #[inline]
    fn run<'py>(&mut self, py: Python<'py>, mut outcome: PyResult<Object<'py>>) -> PyResult<Step<'py>> {
        let Some(body) = &mut self.body else { return Err(has_ended()) };
        let ended = loop {
            match body.resume(py, outcome) {
                Ok(Next::Await(object)) => {
                    let (awaited, step) = match within(Some(&*body), py, || Ok(begin_await(object))) {
                        Ok(begun) => begun,
                        Err(error) => (None, Err(error)),
                    };
                    outcome = match step {
                        Ok(Step::Yielded(value)) => {
                            self.awaited = awaited.map(Owned::from);
                            return Ok(Step::Yielded(value));
                        }
                        Ok(Step::Returned(value)) => Ok(value),
                        Err(error) => Err(error),
                    };
                }
                Ok(Next::Yield) => return Ok(Step::Yielded(py.None().into_bound(py))),
                Ok(Next::Return(value)) => break Ok(Step::Returned(value)),
                Err(error) => break Err(errors::of_coroutine(py, error)),
            }
        };
        self.body = None;
        ended
    }
}

/// Does a step of what the body awaits, in the context that the body has for it.
#[inline(always)]
fn within<B: Body, R>(body: Option<&B>, py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    match body.and_then(Body::context) {
        Some(context) => context::run(context.bind(py), work),
        None => work(),
    }
}

fn close_awaited(awaited: &Object<'_>) -> PyResult<()> {
    match awaited.getattr_opt(names::close(awaited.py()))? {
        Some(close) => deeper(awaited.py(), || close.call0().map(drop)),
        None => Ok(()),
    }
}

/// Ends it: GeneratorExit is raised where it waits.
fn close<'py, B: Body>(this: &Bound<'py, Coroutine<B>>) -> PyResult<Object<'py>>
where
    Coroutine<B>: NativeClass,
{
    let py = this.py();
    // An instance: to ask a lazy error for its class attaches, which panics while the interpreter ends.
    let exit = PyErr::from_value(py.get_type::<PyGeneratorExit>().call0()?);
    match throw(this, exit) {
        Ok(Step::Yielded(_)) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
        Ok(Step::Returned(_)) => Ok(py.None().into_bound(py)),
        Err(error) if error.is_instance_of::<PyGeneratorExit>(py) => {
            errors::swallow(error);
            Ok(py.None().into_bound(py))
        }
        Err(error) => Err(error),
    }
}

/// What `await object` resumes, and how it came back at first.
#[inline(always)]
fn begin_await(object: Object<'_>) -> (Option<Object<'_>>, PyResult<Step<'_>>) {
    match future::ours(&object) {
        Some(ours) => {
            let step = future::resume(ours);
            (Some(object), step)
        }
        None => begin_other(&object),
    }
}

#[inline(never)]
fn begin_other<'py>(object: &Object<'py>) -> (Option<Object<'py>>, PyResult<Step<'py>>) {
    match coroutine::awaited(object) {
        Ok(awaited) => {
            let step = step_other(&awaited);
            (Some(awaited), step)
        }
        Err(error) => (None, Err(error)),
    }
}

#[inline(always)]
fn step<'py>(awaited: &Object<'py>) -> PyResult<Step<'py>> {
    match future::ours(awaited) {
        Some(ours) => future::resume(ours),
        None => step_other(awaited),
    }
}

/// Where it is too deep, in the words of the error.
const RESUMING: &CStr = c" while resuming what is awaited";

#[inline(always)]
fn step_other<'py>(awaited: &Object<'py>) -> PyResult<Step<'py>> {
    recursion::checked_resume(RESUMING, awaited)
}

/// What is awaited may be a coroutine of ours that awaits another, and so on.
#[inline(always)]
fn deeper<R>(py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    recursion::checked(py, RESUMING, work)
}

#[cold]
fn is_running() -> PyErr {
    PyValueError::new_err("coroutine already executing")
}

#[cold]
pub(crate) fn has_ended() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

/// Nobody has it any more: warns if it was never awaited, closes it if it waits.
fn finalize<B: Body>(this: &Bound<'_, Coroutine<B>>)
where
    Coroutine<B>: NativeClass,
{
    let py = this.py();
    let unawaited = this.value().state.with(py, |state| {
        state.finalized = true;
        !std::mem::replace(&mut state.begun, true)
    });
    // The body is dropped with the object, which takes care of long chains (`is_link`).
    let outcome = if unawaited { warn_unawaited(py, B::QUALNAME) } else { close(this).map(drop) };
    if let Err(error) = outcome {
        error.write_unraisable(py, Some(this.as_any()));
    }
}

/// As the interpreter shows its own.
pub(crate) fn coroutine_repr<'py>(name: &str, coroutine: &Object<'py>) -> Object<'py> {
    let text = format!("<coroutine object {name} at {:?}>", coroutine.as_ptr());
    PyString::new(coroutine.py(), &text).into_any()
}

pub(crate) fn warn_unawaited(py: Python<'_>, name: &str) -> PyResult<()> {
    let text = format!("coroutine '{name}' was never awaited");
    let category = py.get_type::<PyRuntimeWarning>();
    names::warn(py)?.call1((text, category)).map(drop)
}
