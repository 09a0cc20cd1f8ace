//! The end of a map: its workers are waited for, its source is closed, and what failed leaves.

use pyo3::prelude::*;

use super::{AsyncMap, Phase, crew, leave, source};
use crate::coroutine::Next;
use crate::cpython::{Native, Object, Owned, Visit, context};
use crate::errors;
use crate::structured::errors::{add_hidden, group_of};
use crate::structured::parent::Parent;
use crate::sync::line::Place;
use crate::waiter::Waiter;

/// What has gone wrong.
#[derive(Default)]
pub(super) struct Trouble {
    /// One for each worker that failed.
    pub(super) errors: Vec<Owned>,
    /// KeyboardInterrupt or SystemExit, which leaves bare.
    pub(super) base_error: Option<Owned>,
    /// The CancelledError of an item that nobody asked to end.
    pub(super) cancelled: Option<Owned>,
}

/// What leaves the block of a map, or the wait for one.
#[derive(Default)]
pub(super) struct Leaving {
    /// The error of the block.
    pub(super) error: Option<Owned>,
    /// A cancel that came while the workers were waited for.
    pub(super) cancelled: Option<Owned>,
}

/// The wait for the end, part of the body of who waits.
pub(super) struct Ending {
    pub(super) map: Owned<AsyncMap>,
    place: Option<Place>,
    /// The source is being closed, in this context.
    closing: Option<Owned>,
    pub(super) leaving: Leaving,
}

impl Trouble {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.each(self.errors.iter().chain(&self.base_error).chain(&self.cancelled))
    }
}

impl Ending {
    pub(super) fn new(map: &Bound<'_, AsyncMap>, error: Option<Owned>) -> Self {
        Self { map: map.into(), place: None, closing: None, leaving: Leaving { error, cancelled: None } }
    }

    /// The context in which what is awaited runs.
    pub(super) fn context(&self) -> Option<&Owned> {
        self.closing.as_ref()
    }

    /// Waits for what has not ended; nothing if all has. What is thrown in to close the waiting coroutine itself
    /// comes back as an error: it cannot wait any more.
    pub(super) fn resume<'py>(
        &mut self,
        py: Python<'py>,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Option<Next<'py>>> {
        let map = self.map.get_bound(py);
        if let Some(place) = self.place.take() {
            map.value().waiting.leave(py, &place)?;
        }
        let was_closing = self.closing.take().is_some();
        if let Err(error) = awaited {
            self.interrupted(&map, was_closing, error)?;
        }
        if !map.value().is_quiet(py) {
            let waiter = Waiter::create(&map.value().event_loop(py)?)?;
            let (place, next) = map.value().waiting.join(py, waiter);
            self.place = Some(place);
            return Ok(Some(next));
        }
        self.close_source(&map)
    }

    fn interrupted(&mut self, map: &Bound<'_, AsyncMap>, was_closing: bool, error: PyErr) -> PyResult<()> {
        let py = map.py();
        if errors::is_cancelled(py, &error) {
            drop(self.leaving.cancelled.replace(errors::into_object(py, error).into()));
            crew::stop(map, Phase::Leaving);
            return Ok(());
        }
        if was_closing && !error.is_instance_of::<pyo3::exceptions::PyGeneratorExit>(py) {
            crew::failed(map, &errors::into_object(py, error));
            return Ok(());
        }
        crew::stop(map, Phase::Leaving);
        drop(leave(map));
        Err(error)
    }

    /// No worker uses it any more.
    fn close_source<'py>(&mut self, map: &Bound<'py, AsyncMap>) -> PyResult<Option<Next<'py>>> {
        let py = map.py();
        let Some(in_context) = map.value().context(py) else { return Ok(None) };
        let closing = source::take_close(map)
            .and_then(|close| close.map(|close| context::run(&in_context, || close.call0())).transpose());
        match closing {
            Ok(None) => Ok(None),
            Ok(Some(closing)) => {
                self.closing = Some(in_context.into());
                Ok(Some(Next::Await(closing)))
            }
            Err(error) => {
                crew::failed(map, &errors::into_object(py, error));
                Ok(None)
            }
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let Leaving { error, cancelled } = &self.leaving;
        let mut shown = visit.each([&self.closing, error, cancelled].into_iter().flatten());
        if shown == 0 {
            shown = self.place.as_ref().map_or(0, |place| place.traverse(visit));
        }
        if shown == 0 { visit.call(&self.map) } else { shown }
    }
}

/// All has ended: raises what is to leave, unless that is the error of the block, which goes on by itself.
///
/// The rules are those of a TaskGroup: KeyboardInterrupt and SystemExit leave bare; errors leave as a group, which
/// hides a cancel from outside that is delivered afterwards; else the cancel goes on.
pub(super) fn verdict(
    py: Python<'_>,
    trouble: Trouble,
    parent: Option<&Parent>,
    leaving: Leaving,
) -> PyResult<()> {
    let Trouble { mut errors, base_error, cancelled: of_item } = trouble;
    let Leaving { error, cancelled } = leaving;
    let error = error.as_ref().map(|error| error.bind(py));
    let is_cancel = error.is_some_and(errors::is_cancelled_error);
    let exit = error.filter(|error| errors::is_exit_error(error));
    if let Some(exit) = base_error.as_ref().map(|error| error.bind(py)).or(exit) {
        if let Some(error) = error.filter(|_| !is_cancel) {
            errors.push(error.into());
        }
        if let Err(error) = add_hidden(exit, "amap()", &errors) {
            // Who wants to end the program is not held up by it.
            error.write_unraisable(py, Some(exit));
        }
        let goes_on = error.is_some_and(|error| error.is(exit));
        return if goes_on { Ok(()) } else { Err(PyErr::from_value(exit.clone())) };
    }
    if !errors.is_empty() {
        if let Some(parent) = parent
            && (is_cancel || cancelled.is_some())
        {
            parent.keep_cancelled(py)?;
        }
        if let Some(error) = error.filter(|_| !is_cancel) {
            errors.push(error.into());
        }
        return Err(group_of(py, "unhandled errors in amap()", &errors, error)?);
    }
    match (error, cancelled.or(of_item)) {
        (None, Some(cancelled)) => Err(PyErr::from_value(cancelled.into_bound(py))),
        _ => Ok(()),
    }
}
