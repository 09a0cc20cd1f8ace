//! The classes Queue, LifoQueue and PriorityQueue: their state, methods and attributes.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use tonnage_core::waiters::Waiters;

use super::super::bound_loop::{BoundLoop, LoopBound, loop_attributes};
use super::delay::Delays;
use super::lines::{self, Line, Side};
use super::overflow::Overflow;
use super::overridden::Overridden;
use super::storage::{self, Kind};
use super::{format, get, init, iterate, put, shutdown, stats, unfinished};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::names;
use crate::waiter::Waiter;

#[repr(C)]
pub(crate) struct Queue {
    pub(crate) extras: Extras,
    pub(super) kind: Kind,
    pub(super) state: Guarded<State>,
    /// The loop of those who get and put, and the loop of those who join.
    pub(super) event_loop: BoundLoop,
    pub(super) join_loop: BoundLoop,
}

pub(super) struct State {
    /// `_queue`: what holds the items; nothing before `__init__`.
    pub(super) storage: Option<Owned>,
    pub(super) maxsize: Option<Owned>,
    /// `maxsize` as a number of items; `usize::MAX` if there is no bound.
    pub(super) capacity: usize,
    pub(super) getters: Line,
    pub(super) putters: Line,
    pub(super) joiners: Waiters<Waiter>,
    pub(super) unfinished: usize,
    pub(super) is_shutdown: bool,
    /// Is it first in, first out, of no subclass with a word, and may items wait for as long as it takes?
    pub(super) is_plain: bool,
    pub(super) overridden: Overridden,
    pub(super) overflow: Overflow,
    /// Who is told what was dropped.
    pub(super) on_drop: Option<Owned>,
    pub(super) delays: Option<Delays>,
    pub(super) counted: Counted,
}

/// For `stats()`.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) peak: usize,
    pub(super) dropped: usize,
}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            storage: None,
            maxsize: None,
            capacity: usize::MAX,
            getters: Line::new(),
            putters: Line::new(),
            joiners: Waiters::new(),
            unfinished: 0,
            is_shutdown: false,
            is_plain: false,
            overridden: Overridden::NOTHING,
            overflow: Overflow::Wait,
            on_drop: None,
            delays: None,
            counted: Counted { peak: 0, dropped: 0 },
        }
    }

    pub(super) fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Getters => &mut self.getters,
            Side::Putters => &mut self.putters,
        }
    }
}

impl Queue {
    const fn new(kind: Kind) -> Self {
        Self {
            extras: Extras::new(),
            kind,
            state: Guarded::new(State::new()),
            event_loop: BoundLoop::none(),
            join_loop: BoundLoop::none(),
        }
    }
}

impl LoopBound for Queue {
    fn bound_loop(&self) -> &BoundLoop {
        &self.event_loop
    }
}

impl NativeClass for Queue {
    const NAME: &'static CStr = c"tonnage.Queue";
    const DOC: &'static CStr =
        c"Queue(maxsize=0, *, overflow='wait', target_delay=None, on_drop=None)\n--\n\n\
        Pass items between tasks, first in, first out.";

    fn empty() -> Option<Self> {
        Some(Self::new(Kind::Fifo))
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_queue);
        slots.init(init::init);
        slots.repr(format::repr);
        slots.str(format::str);
        slots.class_getitem();
        slots.async_iterable(iterate::iterator);
        add_methods(slots);
        add_attributes(slots);
        add_hooks(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.state.traverse(0, |state| {
            let objects = [&state.storage, &state.maxsize, &state.on_drop];
            let objects = objects.into_iter().map(|object| visit.option(object.as_deref()));
            let lines = [&state.getters.waiters, &state.putters.waiters, &state.joiners];
            let waiters = lines.into_iter().flat_map(Waiters::iter).map(|waiter| waiter.traverse(visit));
            objects.chain(waiters).find(|shown| *shown != 0).unwrap_or(0)
        });
        let loops = || [&self.event_loop, &self.join_loop].map(|event_loop| event_loop.traverse(visit));
        if shown != 0 { shown } else { loops().into_iter().find(|shown| *shown != 0).unwrap_or(0) }
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::new())));
        self.event_loop.clear(py);
        self.join_loop.clear(py);
    }
}

fn add_methods(slots: &mut Slots<Queue>) {
    slots.no_args(c"qsize", c"Return the number of items that can be taken.", |queue| {
        Ok(lines::free_items(queue)?.into_pyobject(queue.py())?.into_any())
    });
    slots.no_args(c"empty", c"Return True if no item can be taken.", |queue| {
        to_bool(queue.py(), lines::is_empty(queue)?)
    });
    slots.no_args(c"full", c"Return True if no item can be put without waiting.", |queue| {
        to_bool(queue.py(), lines::is_full(queue)?)
    });
    slots.one_parameter(
        c"put",
        c"Put an item; wait for a free place if the queue is full.",
        || item("Queue.put"),
        put::put,
    );
    slots.one_parameter(
        c"put_nowait",
        c"Put an item, or raise QueueFull.",
        || item("Queue.put_nowait"),
        put::put_nowait_method,
    );
    slots.no_args(c"get", c"Remove and return an item; wait for one if the queue is empty.", get::get);
    slots.no_args(c"get_nowait", c"Remove and return an item, or raise QueueEmpty.", get::get_nowait);
    slots.one_arg(
        c"get_many",
        c"Wait for an item, then remove and return all that are there, at most `limit`.",
        get::get_many,
    );
    slots.no_args(c"task_done", c"Say that the work on an item is done.", unfinished::task_done_method);
    slots.no_args(c"join", c"Wait until the work on all items is done.", unfinished::join);
    slots.with_args(c"shutdown", c"Make get() and put() raise QueueShutDown.", shutdown::shutdown);
    slots.no_args(c"stats", c"Return the queue's size and counters.", stats::stats);
}

fn item(function: &'static str) -> Parameters<1> {
    Parameters { function, names: ["item"], positional: 1, required: 1 }
}

/// White-box attributes of asyncio's queues that programs use.
fn add_attributes(slots: &mut Slots<Queue>) {
    slots.property(c"maxsize", c"The most items that the queue holds; 0 or less is no bound.", init::maxsize);
    slots.attribute_pair(c"_maxsize", init::maxsize, init::set_maxsize);
    slots.attribute_pair(c"_queue", storage::storage, |queue, storage| {
        let storage = Owned::from(storage);
        drop(queue.value().state.with(queue.py(), |state| state.storage.replace(storage)));
        Ok(())
    });
    slots.attribute_pair(c"_unfinished_tasks", unfinished::count, unfinished::set_count);
    slots.getter(c"_is_shutdown", |queue| {
        let is_shutdown = queue.value().state.with(queue.py(), |state| state.is_shutdown);
        to_bool(queue.py(), is_shutdown)
    });
    loop_attributes(slots);
    slots.getter(c"_getters", |queue| lines::futures(queue, Side::Getters));
    slots.getter(c"_putters", |queue| lines::futures(queue, Side::Putters));
}

/// What subclasses may override, and call.
fn add_hooks(slots: &mut Slots<Queue>) {
    slots.one_arg(c"_init", c"Make what holds the items.", |queue, _maxsize| {
        storage::init(queue)?;
        Ok(queue.py().None().into_bound(queue.py()))
    });
    slots.one_arg(c"_put", c"Store an item.", |queue, item| {
        storage::put_native(queue, item)?;
        Ok(queue.py().None().into_bound(queue.py()))
    });
    slots.no_args(c"_get", c"Take an item out.", storage::get_native);
    slots.no_args(c"_format", c"Return the state, for the repr.", |queue| {
        Ok(PyString::new(queue.py(), &format::state(queue)?).into_any())
    });
    slots.one_arg(c"_wakeup_next", c"Wake the next waiter.", |queue, _waiters| {
        lines::serve(queue, Side::Getters)?;
        lines::serve(queue, Side::Putters)?;
        Ok(queue.py().None().into_bound(queue.py()))
    });
}

#[allow(clippy::unnecessary_wraps, reason = "what methods return")]
fn to_bool(py: Python<'_>, value: bool) -> PyResult<Object<'_>> {
    Ok(PyBool::new(py, value).to_owned().into_any())
}

/// A queue whose last item comes out first.
#[repr(C)]
pub(crate) struct LifoQueue {
    pub(crate) queue: Queue,
}

impl NativeClass for LifoQueue {
    const NAME: &'static CStr = c"tonnage.LifoQueue";
    const DOC: &'static CStr =
        c"LifoQueue(maxsize=0, *, overflow='wait', target_delay=None, on_drop=None)\n--\n\n\
        Pass items between tasks, last in, first out.";

    fn empty() -> Option<Self> {
        Some(Self { queue: Queue::new(Kind::Lifo) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_lifo_queue);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.queue.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.queue.clear(py);
    }
}

/// A queue whose smallest item comes out first.
#[repr(C)]
pub(crate) struct PriorityQueue {
    pub(crate) queue: Queue,
}

impl NativeClass for PriorityQueue {
    const NAME: &'static CStr = c"tonnage.PriorityQueue";
    const DOC: &'static CStr =
        c"PriorityQueue(maxsize=0, *, overflow='wait', target_delay=None, on_drop=None)\n--\n\n\
        Pass items between tasks, the smallest first.";

    fn empty() -> Option<Self> {
        Some(Self { queue: Queue::new(Kind::Priority) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_priority_queue);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.queue.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.queue.clear(py);
    }
}
