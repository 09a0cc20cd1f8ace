//! Current task: which task of the loop runs, and when asyncio is told of it.
//!
//! Up to 3.13 asyncio keeps the running tasks in a dictionary from loop to task, and to write it at each switch
//! was a tenth of what a small task costs. A dictionary hashes a key before it looks for it: so it is enough that
//! the entry is right by the time that somebody hashes the loop (`tell_who_asks`). From that moment on the entry is
//! kept right, until no task runs and it goes. From 3.14 on asyncio asks nobody, and is told at each switch.
//! Invariant: the dictionary has no entry of the loop, or it is the right one.

use pyo3::prelude::*;

use super::EventLoop;
use super::flags::{Flag, Flags};
use crate::cpython::native_class::{has_extras, is_exact, references, show};
use crate::cpython::{Native, NativeClass, Object, Owned, current};
use crate::task::Task;

/// Must asyncio be told of each task, whether somebody asks or not? A class with a hash of its own does not learn
/// who does.
pub(super) fn tells_always(flags: &Flags) -> bool {
    !current::ASKERS_HASH || flags.has(Flag::Overridden)
}

/// What `object.__hash__()` makes of an address.
#[inline]
fn identity_hash(object: &Object<'_>) -> isize {
    object.as_ptr().addr().rotate_right(4).cast_signed()
}

/// Does the task, which asyncio was told of, go when asyncio is told of another, and may that run Python code? What only
/// its context refers to is not looked for: there is one for each task, and no way to look into it.
#[inline]
fn goes_with_asyncios_mark(task: &Bound<'_, Task>) -> bool {
    const OURS_AND_ASYNCIOS: isize = 2;
    let is_plain = || is_exact::<Task>(task) && task.value().ends_plainly(task.py()) && !has_extras(task);
    references(task) == OURS_AND_ASYNCIOS && !is_plain()
}

impl EventLoop {
    /// The task of ours that runs.
    #[inline]
    pub(crate) fn running_task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Task>> {
        self.current.with(py, |current| current.as_ref().map(|task| task.get_bound(py)))
    }

    /// As `running_task`, unless asyncio may know better: one of its own tasks that starts eagerly runs inside ours, and
    /// only asyncio is told.
    #[inline]
    pub(crate) fn certain_task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Task>> {
        if self.flags.has(Flag::TellsTask) { None } else { self.running_task(py) }
    }

    /// As `certain_task`, on a loop that is quiet, and whose scheduling nobody overrides.
    #[inline(always)]
    pub(crate) fn plain_task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Task>> {
        let is_plain = !self.flags.has_any([Flag::Overridden, Flag::Debug, Flag::Closed, Flag::TellsTask]);
        if is_plain { self.running_task(py) } else { None }
    }

    /// Does a task of ours run that may be under a deadline?
    #[inline]
    pub(crate) fn runs_bounded_task(&self, py: Python<'_>) -> bool {
        self.current.with(py, |current| current.as_ref().is_some_and(|task| task.value().is_bounded(py)))
    }

    /// Makes `task` the running one. It stays so until another runs, or something that is no task.
    #[inline(always)]
    pub(crate) fn enter_task(&self, event_loop: &Object<'_>, task: &Bound<'_, Task>) -> PyResult<()> {
        let tells = self.flags.has(Flag::TellsTask);
        let left = self.current.with(task.py(), |current| {
            let is_last = match current {
                Some(current) if current.is(task) => return Some(None),
                Some(current) => references(current.bind(task.py())) == 1,
                None => false,
            };
            if is_last || tells { None } else { Some(current.replace(task.into())) }
        });
        match left {
            // One reference less, which is not the last one.
            Some(left) => drop(left),
            None => self.switch_task(event_loop, task)?,
        }
        Ok(())
    }

    /// As `enter_task`, where the task before may go with its mark, or asyncio is told.
    #[inline(never)]
    fn switch_task(&self, event_loop: &Object<'_>, task: &Bound<'_, Task>) -> PyResult<()> {
        // Nobody runs while the one before goes.
        if let Some(left) = self.current.with(task.py(), Option::take)
            && self.flags.has(Flag::TellsTask)
            && goes_with_asyncios_mark(left.bind(task.py()))
        {
            self.tell_none(event_loop)?;
        }
        if self.flags.has(Flag::TellsTask) {
            self.tell(event_loop, task)?;
        }
        let entered = Owned::from(task);
        drop(self.current.with(task.py(), |current| current.replace(entered)));
        Ok(())
    }

    /// No task runs.
    #[inline]
    pub(crate) fn leave_task(&self, event_loop: &Object<'_>) -> PyResult<()> {
        match self.current.with(event_loop.py(), Option::take) {
            Some(_task) if self.flags.has(Flag::TellsTask) => self.tell_none(event_loop),
            _ => Ok(()),
        }
    }

    /// The task that ran has returned. The collector sees it from here on, unless it goes when its step ends. Where
    /// asyncio was told of it, it stays the running one until `leave_task`.
    #[inline(always)]
    pub(crate) fn leave_returned(&self, task: &Bound<'_, Task>) {
        // That of the step, and ours.
        if references(task) <= 2 && !self.flags.has(Flag::TellsTask) {
            drop(self.current.with(task.py(), Option::take));
        }
        if references(task) > 1 {
            show(task);
        }
    }

    /// The task that is marked as running, of whatever class.
    pub(crate) fn current_task<'py>(&self, event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
        if self.flags.has(Flag::TellsTask) {
            return current::get(event_loop);
        }
        Ok(self.running_task(event_loop.py()).map(Bound::into_any))
    }

    /// Makes `previous` the running task again, after an eager start inside it.
    pub(crate) fn restore_task(&self, event_loop: &Object<'_>, previous: Option<Object<'_>>) -> PyResult<()> {
        let py = event_loop.py();
        drop(self.current.with(py, Option::take));
        let is_told = self.flags.has(Flag::TellsTask);
        let Some(previous) = previous else {
            return if is_told { self.tell_none(event_loop) } else { Ok(()) };
        };
        if is_told {
            current::enter(event_loop, &previous)?;
        }
        if let Ok(task) = previous.cast_into::<Task>() {
            drop(self.current.with(py, |current| current.replace(task.into())));
        }
        Ok(())
    }

    /// A run begins: who hashed the loop while no task ran has asked for none.
    pub(super) fn tell_on_demand(&self, event_loop: &Object<'_>) -> PyResult<()> {
        if !tells_always(&self.flags) && current::get(event_loop)?.is_none() {
            self.flags.set(Flag::TellsTask, false);
        }
        Ok(())
    }

    /// The hash of the loop, for somebody who may ask for the running task next.
    pub(super) fn tell_who_asks(&self, event_loop: &Object<'_>) -> PyResult<isize> {
        if !self.flags.has(Flag::TellsTask) {
            // Before asyncio is told, which hashes a loop that is overridden.
            self.flags.set(Flag::TellsTask, true);
            if let Some(task) = self.running_task(event_loop.py()) {
                self.tell(event_loop, &task)?;
            }
        }
        Ok(identity_hash(event_loop))
    }

    #[inline(never)]
    fn tell(&self, event_loop: &Object<'_>, task: &Bound<'_, Task>) -> PyResult<()> {
        if self.is_plain() {
            current::enter_hashed(event_loop, task.as_any(), identity_hash(event_loop))
        } else {
            current::enter(event_loop, task.as_any())
        }
    }

    #[inline(never)]
    fn tell_none(&self, event_loop: &Object<'_>) -> PyResult<()> {
        let left = current::leave(event_loop);
        // Also what was just deleted was hashed.
        self.flags.set(Flag::TellsTask, tells_always(&self.flags));
        left
    }
}
