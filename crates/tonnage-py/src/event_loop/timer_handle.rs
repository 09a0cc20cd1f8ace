//! TimerHandle: a handle that stands in the loop's timers until it is due.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::PyInt;
use tonnage_core::timers::TimerKey;

use super::EventLoop;
use super::call_args::CallArgs;
use super::handle::{self, Handle, context_or_current};
use crate::cpython::native_class::{create_with, is_exact, upcast};
use crate::cpython::{Guarded, Native, NativeClass, Object, Slots, Visit};
use crate::{future, names};

#[repr(C)]
pub(crate) struct TimerHandle {
    pub(crate) handle: Handle,
    pub(super) when: f64,
    /// Was its time given as an int? Then `when()` gives one.
    is_int: bool,
    /// Its place in the loop's timers, while it is there.
    pub(super) key: Guarded<Option<TimerKey>>,
}

impl TimerHandle {
    #[inline(always)]
    pub(crate) fn create<'py>(
        event_loop: &Object<'py>,
        (when, is_int): (f64, bool),
        callback: Object<'py>,
        args: CallArgs,
        in_context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let in_context = context_or_current(py, in_context)?;
        create_with(py, || {
            let handle = Handle::new(event_loop, callback, args, in_context);
            Self { handle, when, is_int, key: Guarded::new(None) }
        })
    }

    pub(crate) fn as_handle<'a, 'py>(timer: &'a Bound<'py, Self>) -> &'a Bound<'py, Handle> {
        upcast(timer)
    }
}

impl NativeClass for TimerHandle {
    const NAME: &'static CStr = c"tonnage.TimerHandle";
    const DOC: &'static CStr = c"A callback scheduled by call_later() or call_at().";

    fn is_link(&self, py: Python<'_>) -> bool {
        self.handle.is_link(py)
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.handle.ends_plainly(py)
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.no_args(c"cancel", c"Cancel the callback.", |timer| {
            cancel_timer(timer)?;
            Ok(timer.py().None().into_bound(timer.py()))
        });
        slots.no_args(c"when", c"Return the scheduled time, in seconds of the loop's clock.", when);
        slots.getter(c"_when", when);
        slots.getter(c"_scheduled", |timer| {
            let py = timer.py();
            Ok(future::to_bool(py, timer.value().key.with(py, |key| key.is_some())))
        });
        slots.getter(c"__class__", |timer| {
            if is_exact::<TimerHandle>(timer.as_any()) {
                return names::asyncio_timer_handle(timer.py()).cloned();
            }
            Ok(timer.get_type().into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.handle.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.handle.clear(py);
    }
}

fn when<'py>(timer: &Bound<'py, TimerHandle>) -> PyResult<Object<'py>> {
    let py = timer.py();
    let when = timer.value().when.into_pyobject(py)?.into_any();
    if timer.value().is_int { py.get_type::<PyInt>().call1((when,)) } else { Ok(when) }
}

fn cancel_timer(timer: &Bound<'_, TimerHandle>) -> PyResult<()> {
    let py = timer.py();
    handle::cancel(TimerHandle::as_handle(timer))?;
    if let Some(key) = timer.value().key.with(py, Option::take) {
        let gone =
            timer.value().handle.state.with(py, |state| {
                EventLoop::of_any(state.event_loop.as_ref()?.bind(py))?.remove_timer(py, key)
            });
        drop(gone);
    }
    Ok(())
}
