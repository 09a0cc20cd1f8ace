//! Dropping deep structures without a deep stack.
//!
//! A future whose result is a future whose result is a future, a hundred thousand times: dropping the
//! first drops all. Beyond `DEPTH_MAX` levels a value is put aside, and dropped by the outermost level of
//! the same thread. CPython's containers do the same, each for itself.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ptr;

/// As CPython's `PyTrash_UNWIND_LEVEL`.
const DEPTH_MAX: u32 = 50;

/// In one place, as each place of a thread costs a call to find.
struct Level {
    depth: Cell<u32>,
    has_put_aside: Cell<bool>,
}

thread_local! {
    static LEVEL: Level = const { Level { depth: Cell::new(0), has_put_aside: Cell::new(false) } };
    /// Bounded by what is alive: each value was the body of an object that is freed.
    static PUT_ASIDE: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Drops the value in place, at once or by the outermost caller of this function.
///
/// # Safety
/// As for `ptr::drop_in_place`. The value stays valid when it is moved.
#[inline]
pub(super) unsafe fn drop_value<T: 'static>(value: *mut T) {
    LEVEL.with(|level| {
        let depth = level.depth.get();
        if depth >= DEPTH_MAX {
            level.has_put_aside.set(true);
            // SAFETY: the caller gives the value away, and does not touch it again.
            let value = unsafe { ptr::read(value) };
            return put_aside(Box::new(value));
        }
        level.depth.set(depth + 1);
        // SAFETY: the caller's promise.
        unsafe { ptr::drop_in_place(value) };
        if depth == 0 && level.has_put_aside.replace(false) {
            drop_what_was_put_aside();
        }
        level.depth.set(depth);
    });
}

#[cold]
fn put_aside(value: Box<dyn Any>) {
    PUT_ASIDE.with_borrow_mut(|values| values.push(value));
}

#[cold]
fn drop_what_was_put_aside() {
    // Dropping one may put others aside, so nothing is borrowed meanwhile.
    while let Some(value) = PUT_ASIDE.with_borrow_mut(Vec::pop) {
        drop(value);
    }
}
