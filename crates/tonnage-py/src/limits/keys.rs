//! Keys: the numbers under which the core knows the keys of a program.
//!
//! A key is compared by its own `__hash__` and `__eq__`, which are Python code. It has a number for as long as
//! somebody waits or holds tokens under it; each of these has a reference (`take`), and gives it back (`let_go`).

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::limits::Key;
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::numbers::NumberMap;

use super::limiter::Limiter;
use crate::cpython::{Native, Object, Owned, Visit};
use crate::names;

#[derive(Default)]
pub(super) struct Keys {
    /// From the key to its number.
    numbers: Option<Owned<PyDict>>,
    used: NumberMap<Used>,
    last: Key,
}

struct Used {
    key: Owned,
    count: usize,
}

/// The number of a key, with one more reference; None is no key.
pub(super) fn take(limiter: &Bound<'_, Limiter>, key: Option<&Object<'_>>) -> PyResult<Key> {
    let Some(key) = key.filter(|key| !key.is_none()) else { return Ok(NO_KEY) };
    let py = limiter.py();
    let known = limiter.value().state.with(py, |state| state.keys.numbers.as_ref().map(|it| it.share(py)));
    let numbers = known.unwrap_or_else(|| {
        let fresh = Owned::from(PyDict::new(py));
        let shared = fresh.share(py);
        // No Python code has run since, so there is still none.
        let before = limiter.value().state.with(py, |state| state.keys.numbers.replace(shared));
        drop(before);
        fresh
    });
    let next = limiter.value().state.with(py, |state| {
        state.keys.last += 1;
        state.keys.last
    });
    let number: Key = numbers.bind(py).call_method1(names::setdefault(py), (key, next))?.extract()?;
    let key = Owned::from(key);
    let spare = limiter.value().state.with(py, |state| match state.keys.used.get_mut(&number) {
        Some(used) => {
            used.count += 1;
            Some(key)
        }
        None => {
            state.keys.used.insert(number, Used { key, count: 1 });
            None
        }
    });
    drop(spare);
    Ok(number)
}

/// Gives a reference back.
pub(super) fn let_go(limiter: &Bound<'_, Limiter>, number: Key) {
    if number == NO_KEY {
        return;
    }
    let py = limiter.py();
    let unused = limiter.value().state.with(py, |state| {
        let used = state.keys.used.get_mut(&number)?;
        used.count -= 1;
        if used.count > 0 {
            return None;
        }
        let used = state.keys.used.remove(&number)?;
        Some((used.key, state.keys.numbers.as_ref()?.share(py)))
    });
    let Some((key, numbers)) = unused else { return };
    if let Err(error) = numbers.bind(py).call_method1(names::pop(py), (key.bind(py), py.None())) {
        error.write_unraisable(py, Some(key.bind(py)));
    }
}

impl Keys {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let numbers = self.numbers.as_ref().map_or(0, |numbers| visit.call(numbers));
        let keys = self.used.values().map(|used| visit.call(&used.key));
        std::iter::once(numbers).chain(keys).find(|shown| *shown != 0).unwrap_or(0)
    }
}
