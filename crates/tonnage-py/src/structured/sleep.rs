//! sleep: let others run for a time.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyInt;

use super::turn::Turn;
use super::wake_timer::WakeTimer;
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Parameters, Visit, number};
use crate::running;
use crate::waiter::Waiter;

pub(crate) type SleepCoroutine = Coroutine<Sleep>;

pub(crate) struct Sleep {
    delay: Owned,
    result: Option<Owned>,
    phase: Phase,
}

enum Phase {
    Begun,
    /// sleep(0): a turn of the loop.
    Turn,
    Timed(WakeTimer),
}

/// `asyncio.sleep(delay, result=None)`.
pub(crate) fn sleep<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "sleep", names: ["delay", "result"], positional: 2, required: 1 };
    let (delay, result) = match args.single() {
        Some(delay) if is_zero(delay) => return Turn::create(args.py()),
        Some(delay) => (delay.into(), None),
        None => {
            let [delay, result] = args.parse(&PARAMETERS)?;
            (delay.expect("required").into(), result.map(Owned::from))
        }
    };
    Coroutine::create(args.py(), Sleep { delay, result, phase: Phase::Begun })
}

/// Is it the number 0, of which there is one object?
#[inline]
fn is_zero(delay: &Object<'_>) -> bool {
    static ZERO: PyOnceLock<Py<PyInt>> = PyOnceLock::new();
    let zero = ZERO.get_or_init(delay.py(), || PyInt::new(delay.py(), 0).unbind());
    delay.is(zero)
}

impl Body for Sleep {
    const QUALNAME: &'static str = "sleep";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        if matches!(self.phase, Phase::Begun) {
            return self.begin(py);
        }
        self.stop_timer(py)?;
        awaited?;
        Ok(match self.result.take() {
            Some(result) => Next::Return(result.into_bound(py)),
            None => Next::none(py),
        })
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        if let Phase::Timed(timer) = &self.phase {
            let shown = timer.traverse(visit);
            if shown != 0 {
                return shown;
            }
        }
        let all = [Some(&self.delay), self.result.as_ref()];
        visit.each(all.into_iter().flatten())
    }
}

impl Sleep {
    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let delay_s = number::seconds(self.delay.bind(py))?;
        if delay_s <= 0.0 {
            self.phase = Phase::Turn;
            return Ok(Next::Yield);
        }
        if delay_s.is_nan() {
            return Err(PyValueError::new_err("Invalid delay: NaN (not a number)"));
        }
        let event_loop = running::event_loop(py)?;
        let waiter = Waiter::create(&event_loop)?;
        let next = waiter.wait(py);
        self.phase = Phase::Timed(WakeTimer::start(&event_loop, delay_s, &waiter)?);
        Ok(next)
    }

    fn stop_timer(&mut self, py: Python<'_>) -> PyResult<()> {
        match std::mem::replace(&mut self.phase, Phase::Turn) {
            Phase::Timed(timer) => timer.stop(py),
            Phase::Begun | Phase::Turn => Ok(()),
        }
    }
}
