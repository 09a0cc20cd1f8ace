//! Event: a flag, and the tasks that wait until it is set.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::bound_loop::{BoundLoop, LoopBound, loop_attributes};
use super::line::{Line, Place};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::future;
use crate::names;
use crate::waiter::Waiter;

#[repr(C)]
pub(crate) struct Event {
    pub(crate) extras: Extras,
    flag: Guarded<bool>,
    line: Line,
    bound_loop: BoundLoop,
}

pub(crate) type EventCoroutine = Coroutine<Wait>;

/// `wait`.
pub(crate) struct Wait {
    event: Owned<Event>,
    place: Option<Place>,
}

impl Event {
    #[inline]
    fn is_set(&self, py: Python<'_>) -> bool {
        self.flag.with(py, |flag| *flag)
    }

    /// Sets the flag, and wakes all who wait.
    fn set(&self, py: Python<'_>) -> PyResult<()> {
        self.flag.with(py, |flag| *flag = true);
        self.line.wake_all(&future::to_bool(py, true))
    }
}

impl LoopBound for Event {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl NativeClass for Event {
    const NAME: &'static CStr = c"tonnage.Event";
    const DOC: &'static CStr = c"Event()\n--\n\nA flag that tasks wait for.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self {
            extras: Extras::new(),
            flag: Guarded::new(false),
            line: Line::new(),
            bound_loop: BoundLoop::none(),
        })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_event);
        slots.init(|_this, args: Args<'_, '_>| {
            const PARAMETERS: Parameters<0> =
                Parameters { function: "Event.__init__", names: [], positional: 0, required: 0 };
            args.parse(&PARAMETERS).map(|[]| ())
        });
        slots.repr(|this| {
            let (py, event) = (this.py(), this.value());
            let state = if event.is_set(py) { "set" } else { "unset" };
            super::described(this.as_any(), state, event.line.len(py))
        });
        slots.no_args(c"is_set", c"is_set($self, /)\n--\n\nReturn True if the flag is set.", |this| {
            Ok(future::to_bool(this.py(), this.value().is_set(this.py())))
        });
        slots.no_args(c"set", c"set($self, /)\n--\n\nSet the flag, and wake all who wait.", |this| {
            this.value().set(this.py())?;
            Ok(this.py().None().into_bound(this.py()))
        });
        slots.no_args(c"clear", c"clear($self, /)\n--\n\nTake the flag back.", |this| {
            this.value().flag.with(this.py(), |flag| *flag = false);
            Ok(this.py().None().into_bound(this.py()))
        });
        slots.no_args(
            c"wait",
            c"wait($self, /)\n--\n\nWait until the flag is set, and return True.",
            |this| Coroutine::create(this.py(), Wait { event: this.into(), place: None }),
        );
        slots.getter(c"_value", |this| Ok(future::to_bool(this.py(), this.value().is_set(this.py()))));
        slots.getter(c"_waiters", |this| this.value().line.futures(this.py()));
        loop_attributes(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self.line.traverse(visit) {
            0 => self.bound_loop.traverse(visit),
            shown => shown,
        }
    }

    fn clear(&self, py: Python<'_>) {
        self.line.clear(py);
        self.bound_loop.clear(py);
    }
}

impl Body for Wait {
    const QUALNAME: &'static str = "Event.wait";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let event = self.event.value();
        if let Some(place) = self.place.take() {
            // There is nothing to pass on: who is woken by an event takes nothing from others.
            event.line.leave(py, &place)?;
            awaited?;
            return Ok(Next::Return(future::to_bool(py, true)));
        }
        if !event.is_set(py) {
            let event_loop = event.bound_loop.get(self.event.bind(py).as_any())?;
            let waiter = Waiter::create(&event_loop)?;
            // A loop of another kind has run Python code, which may have set the flag.
            if !event.is_set(py) {
                let (place, next) = event.line.join(py, waiter);
                self.place = Some(place);
                return Ok(next);
            }
        }
        Ok(Next::Return(future::to_bool(py, true)))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.event) {
            0 => self.place.as_ref().map_or(0, |place| place.traverse(visit)),
            shown => shown,
        }
    }
}
