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
    // These are equal to themselves only.
    let is_itself = |object: &Object<'_>| coroutine::is_coroutine_object(object) || future::is_ours(object);
    if objects.iter().all(is_itself) && are_distinct(objects) {
        return Ok(None);
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

/// Is none of the two or more objects another one? Found out by a table of their addresses, of which at most half is
/// used: to sort them costs several times as much.
fn are_distinct(objects: &[Object<'_>]) -> bool {
    /// Two to the 64, over the golden ratio: Knuth, The Art of Computer Programming, volume 3, section 6.4.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
    const NOBODY: u64 = 0;
    let size = (2 * objects.len()).next_power_of_two();
    let mut table = vec![NOBODY; size];
    for object in objects {
        let address = object.as_ptr() as u64;
        let mut place = (address.wrapping_mul(SPREAD) >> (u64::BITS - size.trailing_zeros())) as usize;
        while table[place] != NOBODY {
            if table[place] == address {
                return false;
            }
            place = (place + 1) & (size - 1);
        }
        table[place] = address;
    }
    true
}
