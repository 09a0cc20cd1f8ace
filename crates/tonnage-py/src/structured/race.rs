//! race: several ways to one result, of which the first to succeed wins.
//!
//! The next way is tried after a delay, or at once when one has failed: Happy Eyeballs (RFC 8305) for anything,
//! and hedged requests. Each runs in a task; the order of events is that of asyncio's staggered_race (CPython
//! 3.14, Lib/asyncio/staggered.py). Invariant: the body ends only when each task that it has started has ended.

use std::collections::VecDeque;
use std::mem;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::errors::{add_note, group_of};
use super::wake_timer::WakeTimer;
use super::{child_done, deadline, ensure_future};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Visit, call, coroutine, number};
use crate::future::{self, Ended};
use crate::limits::Budget;
use crate::waiter::Waiter;
use crate::{errors, names, running, task};

pub(crate) type RaceCoroutine = Coroutine<Race>;

pub(crate) struct Race {
    /// Those that were not started.
    functions: VecDeque<Owned>,
    stagger_s: Option<f64>,
    budget: Option<Owned>,
    /// In the order of the functions.
    racers: Vec<Racer>,
    has_begun: bool,
    /// How many functions the budget has refused.
    refused: usize,
    goal: Goal,
    waiting: Option<(Waiter, Option<WakeTimer>)>,
}

enum Racer {
    Runs(Owned),
    /// With an exception, which is a CancelledError if it was cancelled.
    Failed(Owned),
    /// It has ended when nobody waited for its result any more.
    Ended,
}

/// How far the history of an exception is looked through.
const CONTEXTS_MAX: usize = 100;

/// What is waited for.
enum Goal {
    Winner,
    /// The end of those that run, to return the result of the winner.
    Return(Owned),
    /// The same, to raise an exception: who waits was cancelled, or the program is to end.
    Raise(Owned),
}

/// `race(*funcs, stagger=None, budget=None)`.
pub(super) fn race<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let (mut stagger_s, mut budget) = (None, None);
    for (name, value) in args.keywords()? {
        match name.cast::<PyString>()?.to_str()? {
            "stagger" => stagger_s = delay(&value)?,
            "budget" if value.is_none() || value.is_instance_of::<Budget>() => {
                budget = (!value.is_none()).then(|| value.into());
            }
            "budget" => {
                let text = format!("budget must be a Budget, got {}", value.repr()?);
                return Err(PyTypeError::new_err(text));
            }
            other => {
                let text = format!("race() got an unexpected keyword argument '{other}'");
                return Err(PyTypeError::new_err(text));
            }
        }
    }
    if args.positional().is_empty() {
        return Err(PyValueError::new_err("race() needs at least one function"));
    }
    if let Some(other) = args.positional().iter().find(|function| !function.is_callable()) {
        let text = format!("race() needs functions that return awaitables, got {}", other.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    let functions = args.positional().iter().map(Owned::from).collect();
    let body = Race {
        functions,
        stagger_s,
        budget,
        racers: vec![],
        has_begun: false,
        refused: 0,
        goal: Goal::Winner,
        waiting: None,
    };
    Coroutine::create(py, body)
}

fn delay(given: &Object<'_>) -> PyResult<Option<f64>> {
    if given.is_none() {
        return Ok(None);
    }
    let delay_s = number::seconds(given)?;
    if delay_s >= 0.0 {
        return Ok(Some(delay_s));
    }
    Err(PyValueError::new_err(format!("stagger must be 0 or more, got {}", given.str()?)))
}

impl Body for Race {
    const QUALNAME: &'static str = "race";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        self.stop_waiting(py)?;
        if let Err(error) = awaited {
            let is_cancel = errors::is_cancelled(py, &error);
            let error = Owned::from(errors::into_object(py, error));
            self.end_with(py, Goal::Raise(error.share(py)));
            if !is_cancel {
                // The coroutine is closed, and cannot wait for them.
                return Err(PyErr::from_value(error.into_bound(py)));
            }
        }
        // What woke it while nobody has won is a failure, or the time.
        let is_due = mem::replace(&mut self.has_begun, true);
        if let Err(error) = self.collect(py).and_then(|_| self.start(py, is_due)) {
            // As of the budget.
            self.end_with(py, Goal::Raise(errors::into_object(py, error).into()));
        }
        if self.running().next().is_some() {
            return self.wait(py);
        }
        match mem::replace(&mut self.goal, Goal::Winner) {
            Goal::Return(result) => Ok(Next::Return(result.into_bound(py))),
            Goal::Raise(error) => Err(PyErr::from_value(error.into_bound(py))),
            Goal::Winner => Err(self.failure(py)?),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let of_racers = self.racers.iter().filter_map(|racer| match racer {
            Racer::Runs(object) | Racer::Failed(object) => Some(object),
            Racer::Ended => None,
        });
        let of_goal = match &self.goal {
            Goal::Return(object) | Goal::Raise(object) => Some(object),
            Goal::Winner => None,
        };
        let all = self.functions.iter().chain(of_racers).chain(of_goal).chain(&self.budget);
        let shown = visit.each(all);
        match (shown, &self.waiting) {
            (0, Some((waiter, timer))) => match waiter.traverse(visit) {
                0 => timer.as_ref().map_or(0, |timer| timer.traverse(visit)),
                shown => shown,
            },
            (shown, _) => shown,
        }
    }
}

impl Race {
    fn running(&self) -> impl Iterator<Item = &Owned> {
        self.racers.iter().filter_map(|racer| match racer {
            Racer::Runs(future) => Some(future),
            Racer::Failed(_) | Racer::Ended => None,
        })
    }

    fn is_open(&self) -> bool {
        matches!(self.goal, Goal::Winner)
    }

    /// Starts the functions that are due. `is_due`: the next one is, whatever runs.
    fn start(&mut self, py: Python<'_>, mut is_due: bool) -> PyResult<()> {
        while self.is_open()
            && (is_due || self.stagger_s.is_none() || self.running().next().is_none())
            && let Some(function) = self.functions.pop_front()
        {
            if !self.is_allowed(py)? {
                self.refused = 1 + self.functions.len();
                drop(mem::take(&mut self.functions));
                break;
            }
            let racer = match start(function.bind(py)) {
                Ok(future) => Racer::Runs(future.into()),
                Err(error) if errors::is_exit(py, &error) => {
                    self.end_with(py, Goal::Raise(errors::into_object(py, error).into()));
                    break;
                }
                Err(error) => Racer::Failed(errors::into_object(py, error).into()),
            };
            let has_failed = matches!(racer, Racer::Failed(_));
            self.racers.push(racer);
            // It may have been started eagerly, or be a future that is done.
            is_due = self.collect(py)? || has_failed;
        }
        Ok(())
    }

    /// Asks the budget, which the first one pays into.
    fn is_allowed(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(budget) = &self.budget else { return Ok(true) };
        let budget = budget.bind(py);
        if self.racers.is_empty() {
            budget.call_method0(names::deposit(py))?;
            return Ok(true);
        }
        budget.call_method0(names::withdraw(py))?.is_truthy()
    }

    /// Takes in who has ended, and says whether any of them has failed. The first who has succeeded wins.
    fn collect(&mut self, py: Python<'_>) -> PyResult<bool> {
        let was_open = self.is_open();
        let mut has_failed = false;
        for place in 0..self.racers.len() {
            let Racer::Runs(future) = &self.racers[place] else { continue };
            let future = future.get_bound(py);
            if !future::is_done(&future)? {
                continue;
            }
            let (racer, goal) = match (future::ended(&future)?, was_open) {
                (Ended::Result(result), true) if self.is_open() => {
                    (Racer::Ended, Some(Goal::Return(result.into())))
                }
                (Ended::Exception(error), _) if errors::is_exit_error(&error) => {
                    (Racer::Ended, Some(Goal::Raise(error.into())))
                }
                (Ended::Exception(error), true) => (Racer::Failed(error.into()), None),
                (Ended::Cancelled, true) => {
                    (Racer::Failed(future::make_cancelled_error(&future)?.into()), None)
                }
                (Ended::Exception(error), false) => {
                    if comes_of_cancel(&error)? {
                        report(&future, &error)?;
                    }
                    (Racer::Ended, None)
                }
                (Ended::Result(_), _) | (Ended::Cancelled, false) => (Racer::Ended, None),
            };
            has_failed |= matches!(racer, Racer::Failed(_));
            self.racers[place] = racer;
            if let Some(goal) = goal {
                self.end_with(py, goal);
            }
        }
        Ok(has_failed)
    }

    /// Nobody can win any more: those who run are cancelled, once.
    fn end_with(&mut self, py: Python<'_>, goal: Goal) {
        if !matches!(mem::replace(&mut self.goal, goal), Goal::Winner) {
            return;
        }
        drop(mem::take(&mut self.functions));
        for future in self.running() {
            let future = future.bind(py);
            if let Err(error) = task::cancel_any(future, None) {
                error.write_unraisable(py, Some(future));
            }
        }
    }

    /// Waits until one of those who run has ended, or the next is due.
    fn wait<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let event_loop = running::event_loop(py)?;
        let waiter = Waiter::create(&event_loop)?;
        for future in self.running() {
            child_done::watch(future.bind(py), &waiter.future(py), 0)?;
        }
        let timer = match self.stagger_s {
            Some(stagger_s) if !self.functions.is_empty() => {
                Some(WakeTimer::start(&event_loop, stagger_s, &waiter)?)
            }
            _ => None,
        };
        let next = waiter.wait(py);
        self.waiting = Some((waiter, timer));
        Ok(next)
    }

    fn stop_waiting(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some((waiter, timer)) = self.waiting.take() else { return Ok(()) };
        if let Some(timer) = timer {
            timer.stop(py)?;
        }
        self.running().try_for_each(|future| child_done::unwatch(future.bind(py), &waiter.future(py), 0))
    }

    /// All have failed: the one error, or the group of them. Those that were cancelled count if all were.
    fn failure(&mut self, py: Python<'_>) -> PyResult<PyErr> {
        let failed = mem::take(&mut self.racers).into_iter().filter_map(|racer| match racer {
            Racer::Failed(error) => Some(error),
            Racer::Runs(_) | Racer::Ended => None,
        });
        let (cancelled, mut failed): (Vec<_>, Vec<_>) =
            failed.partition(|error| errors::is_cancelled_error(error.bind(py)));
        if failed.is_empty() {
            failed.extend(cancelled.into_iter().next());
        }
        let error = match &failed[..] {
            [error] => PyErr::from_value(error.get_bound(py)),
            _ => group_of(py, "all functions of race() have failed", &failed, None)?,
        };
        if self.refused > 0 {
            let text = format!("race(): the budget has refused to start {} more", self.refused);
            add_note(error.value(py), &text)?;
        }
        Ok(error)
    }
}

/// The future of what the function returns.
fn start<'py>(function: &Object<'py>) -> PyResult<Object<'py>> {
    let awaitable = call::no_args(function)?;
    if !coroutine::is_awaitable(&awaitable)? {
        let kind = awaitable.get_type().name()?;
        let text = format!("race() needs functions that return awaitables; {function:?} returned {kind}");
        return Err(PyTypeError::new_err(text));
    }
    let event_loop = running::event_loop(function.py())?;
    ensure_future::child_of(&awaitable, Some(&event_loop), deadline::of_creator(&event_loop)?)
}

/// Was it raised while a cancellation was handled? Else the loser has failed by itself, as others before it.
fn comes_of_cancel(error: &Object<'_>) -> PyResult<bool> {
    let py = error.py();
    let mut error = error.clone();
    // A program can make a circle of contexts.
    for _ in 0..CONTEXTS_MAX {
        error = error.getattr(names::__context__(py))?;
        if errors::is_cancelled_error(&error) {
            return Ok(true);
        }
        if error.is_none() {
            return Ok(false);
        }
    }
    Ok(false)
}

/// A loser has failed instead of being cancelled: nobody else would hear of it.
fn report(loser: &Object<'_>, error: &Object<'_>) -> PyResult<()> {
    let py = loser.py();
    let details = PyDict::new(py);
    details.set_item("message", "A function of race() failed when it was cancelled")?;
    details.set_item("exception", error)?;
    details.set_item("future", loser)?;
    future::loop_of(loser)?.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
