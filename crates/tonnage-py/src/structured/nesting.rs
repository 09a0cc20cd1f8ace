//! Telling parents without a deep stack.
//!
//! A gather of a gather of a gather, ten thousand times: the innermost child ends, and all parents end with
//! it, each in the call of the one below. Beyond `DEPTH_MAX` levels what is to be told is put aside, and told
//! by the outermost call of the same thread before it returns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::prelude::*;

use crate::cpython::{Object, Owned};

const DEPTH_MAX: u32 = 50;

struct PutAside {
    parent: Owned,
    key: u32,
    child: Owned,
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Bounded by what is told in one call: emptied before it returns.
    static PUT_ASIDE: RefCell<VecDeque<PutAside>> = const { RefCell::new(VecDeque::new()) };
}

/// Leaves the level also when telling panics.
struct Level(u32);

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

/// Tells `parent` at once, or has the outermost caller do so.
#[inline]
pub(super) fn limited<'py>(
    parent: &Object<'py>,
    key: u32,
    child: &Object<'py>,
    tell: impl Fn(&Object<'py>, u32, &Object<'py>) -> PyResult<()>,
) -> PyResult<()> {
    let depth = DEPTH.get();
    if depth >= DEPTH_MAX {
        put_aside(PutAside { parent: parent.into(), key, child: child.into() });
        return Ok(());
    }
    DEPTH.set(depth + 1);
    let _level = Level(depth);
    let mut told = tell(parent, key, child);
    if depth == 0 {
        let py = parent.py();
        // Telling one may put others aside, so nothing is borrowed meanwhile.
        while let Some(next) = PUT_ASIDE.with_borrow_mut(VecDeque::pop_front) {
            // Each is told, whatever becomes of the others.
            told = told.and(tell(next.parent.bind(py), next.key, next.child.bind(py)));
        }
    }
    told
}

#[cold]
fn put_aside(what: PutAside) {
    PUT_ASIDE.with_borrow_mut(|all| all.push_back(what));
}
