//! CoroutineIter: what `__await__()` of a coroutine gives, for code that calls it by name. The interpreter resumes the
//! coroutine itself.

use std::ffi::CStr;

use pyo3::prelude::*;

use crate::coroutine::has_ended;
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, coroutine};
use crate::names;

pub(crate) struct CoroutineIter {
    coroutine: Guarded<Option<Owned>>,
}

impl CoroutineIter {
    pub(crate) fn create<'py>(of: &Object<'py>) -> PyResult<Object<'py>> {
        let coroutine = Guarded::new(Some(of.into()));
        Ok(create(of.py(), Self { coroutine })?.into_any())
    }

    fn inner<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let found = self.coroutine.with(py, |inner| inner.as_ref().map(|inner| inner.get_bound(py)));
        found.ok_or_else(has_ended)
    }
}

impl NativeClass for CoroutineIter {
    const NAME: &'static CStr = c"tonnage._tonnage.coroutine_wrapper";
    const DOC: &'static CStr = c"The iterator of a coroutine.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.iterator(|iter| coroutine::resume(&iter.value().inner(iter.py())?));
        slots.one_arg(c"send", c"Resume the coroutine.", |iter, value| {
            iter.value().inner(iter.py())?.call_method1("send", (value,))
        });
        slots.with_args(
            c"throw",
            c"Raise an exception where the coroutine waits.",
            |iter, args: Args<'_, '_>| {
                let error = coroutine::thrown(&args)?;
                iter.value()
                    .inner(iter.py())?
                    .call_method1(names::throw(iter.py()), (error.value(iter.py()),))
            },
        );
        slots.no_args(c"close", c"Close the coroutine.", |iter| {
            iter.value().inner(iter.py())?.call_method0(names::close(iter.py()))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.coroutine.traverse(0, |inner| visit.option(inner.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.coroutine.with(py, Option::take));
    }
}
