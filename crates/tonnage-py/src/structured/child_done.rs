//! ChildDone: the callback by which a child reports to its parent where it cannot do so by pointer.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::cpython::native_class::{create, is_exact};
use crate::cpython::{
    Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Vectorcall, Visit,
};
use crate::future::{self, Future};
use crate::names;
use crate::task::Task;

pub(crate) struct ChildDone {
    pub(crate) vectorcall: Vectorcall<Self>,
    parent: Guarded<Option<Owned>>,
    key: u32,
}

impl ChildDone {
    pub(crate) fn create<'py>(parent: &Object<'py>, key: u32) -> PyResult<Object<'py>> {
        let vectorcall = Vectorcall::of(call);
        let kept = Guarded::new(Some(parent.into()));
        Ok(create(parent.py(), Self { vectorcall, parent: kept, key })?.into_any())
    }

    fn parent<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.parent.with(py, |parent| parent.as_ref().map(|parent| parent.get_bound(py)))
    }
}

/// Lets `parent` be told, at the moment that the child ends, or a turn later if it has ended or is of
/// another implementation.
pub(super) fn watch(child: &Object<'_>, parent: &Object<'_>, key: u32) -> PyResult<()> {
    let native = match future::ours(child) {
        Some(ours) => Some(ours),
        None => child.cast::<Future>().ok(),
    };
    if is_exact::<Task>(child)
        && let Ok(task) = child.cast::<Task>()
        && task.value().is_in_line(child.py())
    {
        super::seek(task, parent)?;
    }
    if let Some(native) = native
        && future::add_parent(native, parent, key)
    {
        return Ok(());
    }
    let callback = ChildDone::create(parent, key)?;
    child.call_method1(names::add_done_callback(child.py()), (callback,)).map(drop)
}

/// The opposite of `watch`.
pub(super) fn unwatch(child: &Object<'_>, parent: &Object<'_>, key: u32) -> PyResult<()> {
    if let Ok(native) = child.cast::<Future>() {
        // One of ours that had ended by then has no callbacks any more.
        future::remove_parent(native, parent, key);
        return Ok(());
    }
    let callback = ChildDone::create(parent, key)?;
    child.call_method1(names::remove_done_callback(child.py()), (callback,)).map(drop)
}

impl NativeClass for ChildDone {
    const NAME: &'static CStr = c"tonnage._tonnage.ChildDone";
    const DOC: &'static CStr = c"Tells a parent that its child is done.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.equality(
            |left, right| {
                let py = left.py();
                let same = match (left.value().parent(py), right.value().parent(py)) {
                    (Some(left), Some(right)) => left.is(&right),
                    _ => false,
                };
                Ok(same && left.value().key == right.value().key)
            },
            // A hash may not be -1.
            |this| Ok(this.value().parent(this.py()).map_or(0, |parent| (parent.as_ptr() as isize) >> 4)),
        );
        slots.getter(c"__self__", |this| {
            let py = this.py();
            Ok(this.value().parent(py).unwrap_or_else(|| py.None().into_bound(py)))
        });
        slots.getter(c"__qualname__", |this| {
            let py = this.py();
            let kind = this.value().parent(py).map(|parent| parent.get_type().name()).transpose()?;
            let name = kind.map_or_else(|| "child_done".to_owned(), |kind| format!("{kind}.child_done"));
            Ok(PyString::new(py, &name).into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.parent.traverse(0, |parent| visit.option(parent.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.parent.with(py, Option::take));
    }
}

fn call<'py>(this: &Bound<'py, ChildDone>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "child_done", names: ["future"], positional: 1, required: 1 };
    let py = args.py();
    let [child] = args.parse(&PARAMETERS)?;
    if let Some(parent) = this.value().parent(py) {
        super::tell(&parent, this.value().key, &child.expect("required"))?;
    }
    Ok(py.None().into_bound(py))
}
