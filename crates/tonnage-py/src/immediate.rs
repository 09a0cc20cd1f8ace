//! Immediate: an awaitable that is there already.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::coroutine_iter::CoroutineIter;
use crate::cpython::native_class::create;
use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots, Step, Visit, coroutine};

/// For `__aenter__` and `__aexit__` which need not wait.
pub(crate) struct Immediate {
    /// Nothing once it was awaited.
    value: Guarded<Option<Owned>>,
}

/// One whose value is None. There is one object of it, which each block that ends awaits: it has no state.
pub(crate) struct ImmediateNone;

impl Immediate {
    /// Its await gives `value`.
    #[inline]
    pub(crate) fn of<'py>(value: &Object<'py>) -> PyResult<Object<'py>> {
        Ok(create(value.py(), Self { value: Guarded::new(Some(value.into())) })?.into_any())
    }

    /// Its await gives None: one object for all.
    #[inline]
    pub(crate) fn none(py: Python<'_>) -> PyResult<Object<'_>> {
        static NONE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let none = NONE.get_or_try_init(py, || create(py, ImmediateNone).map(|it| it.into_any().unbind()))?;
        Ok(none.bind(py).clone())
    }
}

impl NativeClass for Immediate {
    const NAME: &'static CStr = c"tonnage._tonnage.immediate";
    const DOC: &'static CStr = c"An awaitable that is there already.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;
    const HIDES_NEXT: bool = true;

    fn empty() -> Option<Self> {
        None
    }

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn slots(slots: &mut Slots<Self>) {
        ends_by(slots, take_value);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.value.traverse(0, |value| visit.option(value.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.value.with(py, Option::take));
    }
}

impl NativeClass for ImmediateNone {
    const NAME: &'static CStr = Immediate::NAME;
    const DOC: &'static CStr = Immediate::DOC;
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;
    const HIDES_NEXT: bool = true;
    const IS_COLLECTED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn slots(slots: &mut Slots<Self>) {
        ends_by(slots, none);
    }

    fn traverse(&self, _visit: &Visit<'_>) -> i32 {
        0
    }

    fn clear(&self, _py: Python<'_>) {}
}

/// Its one step, and the methods.
fn ends_by<T, S>(slots: &mut Slots<T>, step: S)
where
    T: NativeClass,
    S: for<'a, 'py> Fn(&'a Bound<'py, T>) -> PyResult<Step<'py>> + Copy + 'static,
{
    slots.coroutine(step, step, |this| CoroutineIter::create(this.as_any()));
    slots.one_arg(c"send", c"End it.", move |this, _value| coroutine::sent(step(this)?));
    slots.with_args(c"throw", c"Raise an exception.", |_this, args| Err(coroutine::thrown(&args)?));
    slots.no_args(c"close", c"End it.", |this| Ok(this.py().None().into_bound(this.py())));
}

#[inline(always)]
fn none<'py>(this: &Bound<'py, ImmediateNone>) -> PyResult<Step<'py>> {
    Ok(Step::Returned(this.py().None().into_bound(this.py())))
}

#[inline]
fn take_value<'py>(this: &Bound<'py, Immediate>) -> PyResult<Step<'py>> {
    let py = this.py();
    let value = this.value().value.with(py, Option::take);
    Ok(Step::Returned(value.map_or_else(|| py.None().into_bound(py), |value| value.into_bound(py))))
}
