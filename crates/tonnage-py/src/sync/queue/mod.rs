//! Queue: items on their way from some tasks to others; asyncio's, whose waiters cannot be passed.
//!
//! An item that is put while a getter waits is promised to the first getter, and a place that becomes free
//! while a putter waits to the first putter. Nobody else gets what is promised: `qsize()` does not count
//! promised items, and the bound counts promised places. The item itself is taken when the getter resumes,
//! and stored when the putter resumes, so that who is cancelled has taken and stored nothing; it passes
//! on what it was promised. Invariants: at most `capacity` items are stored or have a promised place; no
//! getter waits while an item is not promised, no putter while a place is not; no state is entered while an
//! item is compared, or a method of a Python subclass runs.

mod at_once;
mod class;
mod delay;
mod dropped;
mod format;
mod get;
mod heap;
mod init;
mod iterate;
mod lines;
mod overflow;
mod overridden;
mod put;
mod shutdown;
mod stats;
mod storage;
mod unfinished;

pub(crate) use class::{LifoQueue, PriorityQueue, Queue};
pub(crate) use get::{GetCoroutine, GetManyCoroutine};
pub(crate) use iterate::{NextItemCoroutine, QueueIterator};
pub(crate) use put::PutCoroutine;
pub(crate) use stats::QueueStats;
pub(crate) use unfinished::JoinCoroutine;
