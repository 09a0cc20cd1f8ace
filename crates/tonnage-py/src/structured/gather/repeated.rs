//! Arguments of gather that are given more than once: each is run once, and its result comes at all its places.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cpython::{Object, coroutine};
use crate::future;

/// What arguments are given more than once.
pub(super) struct Repeated<'a, 'py> {
    pub(super) distinct: Vec<&'a Object<'py>>,
    /// For each argument, its place among the distinct ones.
    pub(super) order: Vec<u32>,
}

/// Finds arguments that are the same, or equal; nothing if there are none, as nearly always.
pub(super) fn repeated<'a, 'py>(objects: &'a [Object<'py>]) -> PyResult<Option<Repeated<'a, 'py>>> {
    let [first, _, ..] = objects else { return Ok(None) };
    if objects.iter().all(|object| coroutine::is_coroutine_object(object) || future::is_ours(object)) {
        // These are equal to themselves only.
        let mut addresses: Vec<_> = objects.iter().map(|object| object.as_ptr() as usize).collect();
        addresses.sort_unstable();
        if addresses.windows(2).all(|pair| pair[0] != pair[1]) {
            return Ok(None);
        }
    }
    let places = PyDict::new(first.py());
    let mut repeated = Repeated { distinct: vec![], order: Vec::with_capacity(objects.len()) };
    for object in objects {
        let place = match places.get_item(object)? {
            Some(place) => place.extract()?,
            None => {
                let place =
                    u32::try_from(repeated.distinct.len()).expect("fewer than four billion arguments");
                places.set_item(object, place)?;
                repeated.distinct.push(object);
                place
            }
        };
        repeated.order.push(place);
    }
    Ok(if repeated.distinct.len() == objects.len() { None } else { Some(repeated) })
}
