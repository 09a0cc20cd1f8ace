//! `await amap(...)` and `await amap(...).drain()`: all items, and then the list, or their number.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::ending::{Ending, verdict};
use super::results::Purpose;
use super::{AsyncMap, begin, leave};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Object, Owned, Visit};

pub(crate) type CollectCoroutine = Coroutine<Collect<false>>;
pub(crate) type DrainCoroutine = Coroutine<Collect<true>>;

pub(crate) struct Collect<const DRAINS: bool> {
    ending: Ending,
    has_begun: bool,
}

impl<const DRAINS: bool> Collect<DRAINS> {
    pub(super) fn new(map: &Bound<'_, AsyncMap>) -> Self {
        Self { ending: Ending::new(map, None), has_begun: false }
    }
}

impl<const DRAINS: bool> Body for Collect<DRAINS> {
    const QUALNAME: &'static str = if DRAINS { "AsyncMap.drain" } else { "amap" };
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let map = self.ending.map.get_bound(py);
        if !std::mem::replace(&mut self.has_begun, true) {
            begin(&map, if DRAINS { Purpose::Count } else { Purpose::List })?;
        }
        if let Some(next) = self.ending.resume(py, awaited)? {
            return Ok(next);
        }
        let state = leave(&map);
        let parent = state.scope.as_ref().map(|scope| &scope.parent);
        verdict(py, state.trouble, parent, std::mem::take(&mut self.ending.leaving))?;
        if DRAINS {
            return Ok(Next::Return(state.results.count().into_pyobject(py)?.into_any()));
        }
        let results = state.results.into_list();
        let list = PyList::new(py, results.into_iter().map(|result| result.into_bound(py)))?;
        Ok(Next::Return(list.into_any()))
    }

    fn context(&self) -> Option<&Owned> {
        self.ending.context()
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.ending.traverse(visit)
    }
}
