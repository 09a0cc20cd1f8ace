//! Synchronisation between tasks: locks, semaphores, events, conditions, barriers and queues.
//!
//! Under all of them is one line of waiters (`tonnage_core::waiters`): first come, first served. What is
//! released is handed to the first waiter at that moment; who gives up leaves no trace, and passes on what it
//! was given.

mod barrier;
mod bound_loop;
mod condition;
mod condition_wait;
mod entering;
mod event;
mod gate;
pub(crate) mod line;
mod lock;
mod semaphore;

use pyo3::prelude::*;
use pyo3::types::PyString;

pub(crate) use barrier::{Barrier, BarrierAbortCoroutine, BarrierResetCoroutine, BarrierWaitCoroutine};
pub(crate) use bound_loop::BoundLoop;
pub(crate) use condition::Condition;
pub(crate) use condition_wait::{ConditionCoroutine, ConditionForCoroutine};
pub(crate) use entering::Entering;
pub(crate) use event::{Event, EventCoroutine};
pub(crate) use gate::EnterByNameCoroutine;
pub(crate) use lock::{Lock, LockCoroutine};
pub(crate) use semaphore::{BoundedSemaphore, Semaphore, SemaphoreCoroutine};

use crate::cpython::Object;

/// The repr of `object`, as asyncio's: `<tonnage.Lock object at 0x7f0000000000 [locked, waiters:1]>`.
fn described<'py>(object: &Object<'py>, state: &str, waiting: usize) -> PyResult<Object<'py>> {
    let waiting = if waiting == 0 { String::new() } else { format!(", waiters:{waiting}") };
    let class = object.get_type();
    let (home, name) = (class.module()?, class.qualname()?);
    let text = format!("<{home}.{name} object at {:?} [{state}{waiting}]>", object.as_ptr());
    Ok(PyString::new(object.py(), &text).into_any())
}
mod queue;

pub(crate) use queue::{
    GetCoroutine, GetManyCoroutine, JoinCoroutine, LifoQueue, NextItemCoroutine, PriorityQueue, PutCoroutine,
    Queue, QueueIterator, QueueStats,
};
