//! sleep(0): a turn of the loop for all others. Programs call it so often that it is no `Body` of a coroutine,
//! but the smallest object that looks like one.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::coroutine::{coroutine_repr, has_ended, warn_unawaited};
use crate::coroutine_iter::CoroutineIter;
use crate::cpython::native_class::create;
use crate::cpython::{Guarded, Native, NativeClass, Object, PlainDrop, Slots, Step, Visit, coroutine};

pub(crate) struct Turn(Guarded<Phase>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Suspended,
    Ended,
}

impl Turn {
    #[inline]
    pub(super) fn create(py: Python<'_>) -> PyResult<Object<'_>> {
        Ok(create(py, Self(Guarded::new(Phase::Created)))?.into_any())
    }
}

impl NativeClass for Turn {
    const NAME: &'static CStr = c"tonnage._tonnage.coroutine";
    const DOC: &'static CStr = c"A coroutine that is written in Rust.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;
    const HIDES_NEXT: bool = true;
    const IS_COLLECTED: bool = false;
    const PLAIN_DROP: PlainDrop = PlainDrop::NotAtAll;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.0.with(py, |phase| *phase == Phase::Created)
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.0.with(py, |phase| *phase != Phase::Created)
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.coroutine(next, next, |turn| CoroutineIter::create(turn.as_any()));
        slots.finalizer(|turn| {
            turn.value().0.with(turn.py(), |phase| *phase = Phase::Ended);
            if let Err(error) = warn_unawaited(turn.py(), "sleep") {
                error.write_unraisable(turn.py(), Some(turn.as_any()));
            }
        });
        slots.repr(|turn| Ok(coroutine_repr("sleep", turn.as_any())));
        slots.one_arg(c"send", c"Resume it.", |turn, _value| coroutine::sent(next(turn)?));
        slots.with_args(c"throw", c"Raise an exception where it waits.", |turn, args| {
            let error = coroutine::thrown(&args)?;
            turn.value().0.with(args.py(), |phase| *phase = Phase::Ended);
            Err(error)
        });
        slots.no_args(c"close", c"Raise GeneratorExit where it waits, so that it ends.", |turn| {
            turn.value().0.with(turn.py(), |phase| *phase = Phase::Ended);
            Ok(turn.py().None().into_bound(turn.py()))
        });
        slots.getter(c"__qualname__", |turn| Ok(PyString::intern(turn.py(), "sleep").into_any()));
        slots.getter(c"__name__", |turn| Ok(PyString::intern(turn.py(), "sleep").into_any()));
    }

    fn traverse(&self, _visit: &Visit<'_>) -> i32 {
        0
    }

    fn clear(&self, _py: Python<'_>) {}
}

#[inline]
fn next<'py>(turn: &Bound<'py, Turn>) -> PyResult<Step<'py>> {
    let py = turn.py();
    let before = turn.value().0.with(py, |phase| {
        let before = *phase;
        *phase = if before == Phase::Created { Phase::Suspended } else { Phase::Ended };
        before
    });
    let none = py.None().into_bound(py);
    match before {
        Phase::Created => Ok(Step::Yielded(none)),
        Phase::Suspended => Ok(Step::Returned(none)),
        Phase::Ended => Err(has_ended()),
    }
}
