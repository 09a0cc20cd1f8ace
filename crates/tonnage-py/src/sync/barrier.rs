//! Barrier: a number of tasks that wait for each other.
//!
//! It fills until all parties are there, then drains: all of them go on, and who comes meanwhile stands outside
//! until the last one is gone. What a woken task gets depends on the state when it runs, not when it was woken:
//! a reset or an abort in between still breaks it. This is asyncio's rule.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::bound_loop::{BoundLoop, LoopBound, loop_attributes};
use super::line::{Line, Place};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{
    Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, compat,
};
use crate::immediate::Immediate;
use crate::waiter::Waiter;
use crate::{future, names};

#[repr(C)]
pub(crate) struct Barrier {
    pub(crate) extras: Extras,
    state: Guarded<State>,
    /// Those who wait for the other parties.
    inside: Line,
    /// Those who wait until it has drained.
    outside: Line,
    bound_loop: BoundLoop,
}

struct State {
    phase: Phase,
    parties: usize,
    /// The tasks inside, woken or not.
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Filling,
    Draining,
    Resetting,
    Broken,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Draining => "draining",
            Self::Resetting => "resetting",
            Self::Broken => "broken",
        }
    }

    fn lets_in(self) -> bool {
        matches!(self, Self::Filling | Self::Broken)
    }
}

impl Barrier {
    fn phase(&self, py: Python<'_>) -> Phase {
        self.state.with(py, |state| state.phase)
    }

    fn waiting(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| if state.phase == Phase::Filling { state.count } else { 0 })
    }

    fn parties(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.parties)
    }

    /// One more is inside: its number, and whether it was the last that was missing.
    fn count_in(&self, py: Python<'_>) -> (usize, bool) {
        self.state.with(py, |state| {
            let number = state.count;
            state.count += 1;
            let is_full = state.count == state.parties;
            if is_full {
                state.phase = Phase::Draining;
            }
            (number, is_full)
        })
    }

    /// One goes; the last one lets those outside in.
    fn count_out(&self, py: Python<'_>) -> PyResult<()> {
        let is_empty = self.state.with(py, |state| {
            state.count -= 1;
            if state.count == 0 && state.phase != Phase::Broken {
                state.phase = Phase::Filling;
            }
            state.count == 0
        });
        if is_empty { wake(py, &self.outside) } else { Ok(()) }
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |state| {
            state.phase = if state.count == 0 { Phase::Filling } else { Phase::Resetting };
        })
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |state| state.phase = Phase::Broken)
    }

    /// Changes the state, and lets all see it.
    fn change(&self, py: Python<'_>, change: impl FnOnce(&mut State)) -> PyResult<()> {
        self.state.with(py, change);
        wake(py, &self.inside).and(wake(py, &self.outside))
    }
}

fn wake(py: Python<'_>, line: &Line) -> PyResult<()> {
    line.wake_all(&future::to_bool(py, true))
}

impl LoopBound for Barrier {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl NativeClass for Barrier {
    const NAME: &'static CStr = c"tonnage.Barrier";
    const DOC: &'static CStr = c"Barrier(parties)\n--\n\nLet a number of tasks wait for each other.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self {
            extras: Extras::new(),
            state: Guarded::new(State { phase: Phase::Filling, parties: 1, count: 0 }),
            inside: Line::new(),
            outside: Line::new(),
            bound_loop: BoundLoop::none(),
        })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(compat::asyncio_barrier);
        slots.init(init);
        slots.repr(|this| {
            let (py, barrier) = (this.py(), this.value());
            let phase = barrier.phase(py);
            let mut state = phase.name().to_owned();
            if phase != Phase::Broken {
                state += &format!(", waiters:{}/{}", barrier.waiting(py), barrier.parties(py));
            }
            super::described(this.as_any(), &state, 0)
        });
        slots.no_args(
            c"wait",
            c"wait($self, /)\n--\n\nWait until all parties wait, and return the number of this one, from 0.",
            BarrierWait::create,
        );
        slots.no_args(
            c"reset",
            c"reset($self, /)\n--\n\nEmpty the barrier: whoever waits gets BrokenBarrierError.",
            |this| Coroutine::create(this.py(), BarrierReset { barrier: this.into() }),
        );
        slots.no_args(
            c"abort",
            c"abort($self, /)\n--\n\nBreak the barrier: whoever waits, now or later, gets BrokenBarrierError.",
            |this| Coroutine::create(this.py(), BarrierAbort { barrier: this.into() }),
        );
        slots.block(
            (c"Wait as wait() does.", |this| {
                if super::gate::is_plain(this) {
                    return BarrierWait::create(this);
                }
                this.as_any().call_method0(names::wait(this.py()))
            }),
            (c"Do nothing: the barrier was passed.", |this, _args| Immediate::none(this.py())),
        );
        slots.property(c"parties", c"The number of tasks that the barrier waits for.", |this| {
            number(this.py(), this.value().parties(this.py()))
        });
        slots.property(c"n_waiting", c"The number of tasks that wait until all parties are there.", |this| {
            number(this.py(), this.value().waiting(this.py()))
        });
        slots.property(c"broken", c"True if the barrier is broken.", |this| {
            Ok(future::to_bool(this.py(), this.value().phase(this.py()) == Phase::Broken))
        });
        slots.getter(c"_parties", |this| number(this.py(), this.value().parties(this.py())));
        slots.getter(c"_count", |this| {
            number(this.py(), this.value().state.with(this.py(), |state| state.count))
        });
        loop_attributes(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        for line in [&self.inside, &self.outside] {
            let shown = line.traverse(visit);
            if shown != 0 {
                return shown;
            }
        }
        self.bound_loop.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.inside.clear(py);
        self.outside.clear(py);
        self.bound_loop.clear(py);
    }
}

fn init<'py>(this: &Bound<'py, Barrier>, args: Args<'_, 'py>) -> PyResult<()> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Barrier.__init__", names: ["parties"], positional: 1, required: 1 };
    let [parties] = args.parse(&PARAMETERS)?;
    let parties = parties.expect("required");
    if parties.lt(1)? {
        return Err(PyValueError::new_err("parties must be >= 1"));
    }
    let parties = parties.extract()?;
    this.value().state.with(this.py(), |state| state.parties = parties);
    Ok(())
}

fn number(py: Python<'_>, value: usize) -> PyResult<Object<'_>> {
    Ok(value.into_pyobject(py)?.into_any())
}

pub(crate) type BarrierWaitCoroutine = Coroutine<BarrierWait>;

/// `wait`.
pub(crate) struct BarrierWait {
    barrier: Owned<Barrier>,
    stage: Stage,
}

enum Stage {
    Begun,
    Outside(Place),
    /// With its number.
    Inside(Place, usize),
}

impl BarrierWait {
    fn create<'py>(barrier: &Bound<'py, Barrier>) -> PyResult<Object<'py>> {
        Coroutine::create(barrier.py(), Self { barrier: barrier.into(), stage: Stage::Begun })
    }

    /// Goes in, or stands outside while the barrier drains.
    fn enter<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let barrier = self.barrier.value();
        if !barrier.phase(py).lets_in() {
            let waiter = self.waiter(py)?;
            if !barrier.phase(py).lets_in() {
                let (place, next) = barrier.outside.join(py, waiter);
                self.stage = Stage::Outside(place);
                return Ok(next);
            }
        }
        if barrier.phase(py) == Phase::Broken {
            return Err(broken(py, "Barrier aborted"));
        }
        let (number, is_full) = barrier.count_in(py);
        if is_full {
            let woken = wake(py, &barrier.inside);
            return self.leave(py, woken.map(|()| number));
        }
        self.stay(py, number)
    }

    /// Waits inside for the others; what it gets depends on the state at this moment.
    fn stay<'py>(&mut self, py: Python<'py>, number: usize) -> PyResult<Next<'py>> {
        let barrier = self.barrier.value();
        if barrier.phase(py) == Phase::Filling {
            match self.waiter(py) {
                Ok(waiter) if barrier.phase(py) == Phase::Filling => {
                    let (place, next) = barrier.inside.join(py, waiter);
                    self.stage = Stage::Inside(place, number);
                    return Ok(next);
                }
                // A loop of another kind has run Python code, which may have changed the state.
                Ok(_) => {}
                Err(error) => return self.leave(py, Err(error)),
            }
        }
        let passed = barrier.phase(py) == Phase::Draining;
        self.leave(py, if passed { Ok(number) } else { Err(broken(py, "Abort or reset of barrier")) })
    }

    fn leave<'py>(&self, py: Python<'py>, outcome: PyResult<usize>) -> PyResult<Next<'py>> {
        self.barrier.value().count_out(py)?;
        Ok(Next::Return(number(py, outcome?)?))
    }

    fn waiter(&self, py: Python<'_>) -> PyResult<Waiter> {
        Waiter::create(&self.barrier.value().bound_loop.get(self.barrier.bind(py).as_any())?)
    }
}

#[cold]
fn broken(py: Python<'_>, text: &str) -> PyErr {
    match names::broken_barrier_error(py).and_then(|class| class.call1((text,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

impl Body for BarrierWait {
    const QUALNAME: &'static str = "Barrier.wait";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let barrier = self.barrier.value();
        match std::mem::replace(&mut self.stage, Stage::Begun) {
            Stage::Begun => self.enter(py),
            Stage::Outside(place) => {
                barrier.outside.leave(py, &place)?;
                awaited?;
                self.enter(py)
            }
            Stage::Inside(place, number) => {
                barrier.inside.leave(py, &place)?;
                match awaited {
                    Ok(_) => self.stay(py, number),
                    Err(error) => self.leave(py, Err(error)),
                }
            }
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = visit.call(&self.barrier);
        if shown != 0 {
            return shown;
        }
        match &self.stage {
            Stage::Begun => 0,
            Stage::Outside(place) | Stage::Inside(place, _) => place.traverse(visit),
        }
    }
}

pub(crate) type BarrierResetCoroutine = Coroutine<BarrierReset>;
pub(crate) type BarrierAbortCoroutine = Coroutine<BarrierAbort>;

/// `reset`.
pub(crate) struct BarrierReset {
    barrier: Owned<Barrier>,
}

/// `abort`.
pub(crate) struct BarrierAbort {
    barrier: Owned<Barrier>,
}

impl Body for BarrierReset {
    const QUALNAME: &'static str = "Barrier.reset";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        awaited?;
        self.barrier.value().reset(py)?;
        Ok(Next::none(py))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.barrier)
    }
}

impl Body for BarrierAbort {
    const QUALNAME: &'static str = "Barrier.abort";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        awaited?;
        self.barrier.value().abort(py)?;
        Ok(Next::none(py))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.barrier)
    }
}
