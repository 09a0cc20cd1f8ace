//! Deadlock: all who hold a limiter wait for tasks that wait for this limiter, so that nothing will ever be released.
//!
//! Looked for when nobody was served for a second while somebody waits, and then more and more rarely, for about an
//! hour: so it costs nothing that counts, and a program that stands still comes to rest. It must be certain: each
//! holder is a task of ours in a block of the limiter, and waits for nothing but tasks of which the same is true, or
//! which stand in the line: by `await`, by the end of a group or by `gather`. Who is under a deadline, or waits for
//! anything else, may go on. Only somebody who raises the total could help then. The newest of the line is told.

use pyo3::prelude::*;
use tonnage_core::clock::NS_PER_S;
use tonnage_core::limits::Admission;
use tonnage_core::limits::numbers::NumberMap;

use super::adaptive;
use super::limiter::Limiter;
use super::serve::Payload;
use crate::cpython::{Native, Object};
use crate::structured::deadline;
use crate::task::Task;
use crate::{errors, future, structured};

/// When a limiter is looked at next, for which nobody was served since.
#[derive(Clone, Copy)]
pub(super) struct Look {
    at_ns: u64,
    after_ns: u64,
    admitted: u64,
}

const FIRST_NS: u64 = NS_PER_S;

/// After a wait of this or more between two looks there is no other, unless somebody joins the line.
const LAST_NS: u64 = 2048 * NS_PER_S;

/// The time of the next look, as long as somebody waits without an end that is known.
pub(super) fn next_look_ns(this: &Bound<'_, Limiter>, now_ns: u64) -> PyResult<Option<u64>> {
    let (watched, admitted) = Limiter::admission(this, |admission| {
        let is_endless = admission.is_lent() && admission.bounds().max_wait_ns.is_none();
        (is_endless && !admission.line().is_empty(), admission.admitted())
    })?;
    Ok(this.value().state.with(this.py(), |state| {
        if !watched {
            state.look = None;
            return None;
        }
        let first = Look { at_ns: now_ns.saturating_add(FIRST_NS), after_ns: FIRST_NS, admitted };
        let look = state.look.get_or_insert(first);
        (look.after_ns <= LAST_NS).then_some(look.at_ns)
    }))
}

/// Nobody waits.
pub(super) fn stop_looking(this: &Bound<'_, Limiter>) {
    this.value().state.with(this.py(), |state| state.look = None);
}

/// Somebody has joined the line, who may have completed a deadlock.
pub(super) fn look_again(this: &Bound<'_, Limiter>) {
    this.value().state.with(this.py(), |state| {
        if state.look.is_some_and(|look| look.after_ns > LAST_NS) {
            state.look = None;
        }
    });
}

/// Looks for a deadlock if it is time, and ends it.
pub(super) fn look(this: &Bound<'_, Limiter>, now_ns: u64) -> PyResult<()> {
    let py = this.py();
    let admitted = Limiter::admission(this, |admission| admission.admitted())?;
    let stands_still = this.value().state.with(py, |state| {
        let look = state.look.as_mut().filter(|look| look.at_ns <= now_ns)?;
        let stands_still = look.admitted == admitted;
        let after_ns = if stands_still { look.after_ns.saturating_mul(2) } else { FIRST_NS };
        *look = Look { at_ns: now_ns.saturating_add(after_ns), after_ns, admitted };
        Some(stands_still)
    });
    // A limit that comes up again by itself lets somebody in.
    if stands_still != Some(true) || adaptive::lowered_until_ns(this).is_some() {
        return Ok(());
    }
    let Some(holders) = block_holders(this)? else { return Ok(()) };
    let stuck = Stuck::of(this)?;
    if !holders.iter().all(|holder| stuck.contains(holder)) {
        return Ok(());
    }
    let error = error(this, &holders)?;
    if let Some(entry) = Limiter::admission(this, Admission::forget_newest)? {
        entry.waiter.hand(error.value(py).as_any());
    }
    // There may be others, who wait for the next.
    this.value().state.with(py, |state| state.look = None);
    Ok(())
}

/// The tasks that hold all that is lent, if only blocks do: a permit may be released by anybody.
fn block_holders<'py>(this: &Bound<'py, Limiter>) -> PyResult<Option<Vec<Object<'py>>>> {
    let py = this.py();
    let lent = Limiter::admission(this, |admission| admission.in_use())?;
    let (in_blocks, holders) = this.value().state.with(py, |state| state.holders.in_blocks(py));
    Ok((in_blocks == lent && !holders.is_empty()).then_some(holders))
}

fn error(this: &Bound<'_, Limiter>, holders: &[Object<'_>]) -> PyResult<PyErr> {
    /// So many are named.
    const NAMED: usize = 5;
    let name = this.value().name(this.py());
    let mut named = vec![];
    for holder in holders.iter().take(NAMED) {
        named.push(holder.call_method0("get_name")?.str()?.to_string());
    }
    let more =
        if holders.len() > NAMED { format!(" and {} more", holders.len() - NAMED) } else { String::new() };
    let text = format!(
        "limiter '{name}' is deadlocked: each task that holds it ({}{more}) waits for tasks that wait for it; \
         release it before waiting for them, or use another limiter for them",
        named.join(", "),
    );
    Ok(errors::deadlock(this.py(), &text))
}

/// Tasks that wait for each other and for the limiter, and for nothing else.
struct Stuck<'py> {
    tasks: NumberMap<Bound<'py, Task>>,
}

impl<'py> Stuck<'py> {
    fn contains(&self, task: &Object<'py>) -> bool {
        self.tasks.contains_key(&address(task))
    }

    /// All tasks that wait for one in the line, directly or not; then those are taken out that may go on.
    fn of(this: &Bound<'py, Limiter>) -> PyResult<Self> {
        let py = this.py();
        let futures: Vec<Object<'py>> = Limiter::admission(this, |admission| {
            // Of those who wait for the tasks of an owner nobody can say that they wait for nothing else.
            let waiters = admission.line().iter().filter_map(|entry| match &entry.waiter {
                Payload::Waiter(waiter) => Some(waiter.future(py)),
                Payload::Door(_) => None,
            });
            waiters.collect()
        })?;
        // What ends when all of its children have ended, by the future that is awaited for it. Nothing: the line.
        let mut ends: NumberMap<Vec<Object<'py>>> = NumberMap::default();
        let mut tasks = NumberMap::default();
        let mut next = vec![];
        for future in futures {
            ends.insert(address(&future), vec![]);
            next.push(future);
        }
        while let Some(awaited) = next.pop() {
            for parent in future::who_waits(&awaited) {
                if let Ok(task) = parent.cast::<Task>() {
                    if tasks.insert(address(&parent), task.clone()).is_none() {
                        next.push(parent);
                    }
                } else if let Some((future, children)) = structured::end_of_all(&parent)?
                    && ends.insert(address(&future), children).is_none()
                {
                    next.push(future);
                }
            }
        }
        let mut stuck = Self { tasks };
        while let Some(free) = stuck.one_that_may_go_on(&ends)? {
            stuck.tasks.remove(&free);
        }
        Ok(stuck)
    }

    fn one_that_may_go_on(&self, ends: &NumberMap<Vec<Object<'py>>>) -> PyResult<Option<u64>> {
        for (address_of_task, task) in &self.tasks {
            let awaited = task.value().awaits(task.py());
            let is_stuck = match awaited {
                // It is about to run.
                None => false,
                Some(awaited) if future::is_done(&awaited)? => false,
                Some(awaited) => match ends.get(&address(&awaited)) {
                    Some(children) => children.iter().all(|child| self.contains(child)),
                    None => self.contains(&awaited),
                },
            };
            if !is_stuck || deadline::of_task(task.as_any())?.is_some() {
                return Ok(Some(*address_of_task));
            }
        }
        Ok(None)
    }
}

fn address(object: &Object<'_>) -> u64 {
    object.as_ptr() as u64
}
