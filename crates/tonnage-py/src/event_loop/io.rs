//! `add_reader` and its relatives: the descriptors that users watch themselves.

use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use tonnage_core::reactor::{Fd, Interest};

use super::call_args::CallArgs;
use super::flags::Flag;
use super::sources::{Direction, Watcher};
use super::{EventLoop, Handle, handle};
use crate::cpython::{Native, Object, Owned};
use crate::future::Future;
use crate::transports::AnyTransport;
use crate::{errors, names};

#[pymethods]
impl EventLoop {
    #[pyo3(signature = (fd, callback, *args, context = None))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Object<'py>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Handle>> {
        add(slf, fd, Direction::Read, (callback, args, context))
    }

    #[pyo3(signature = (fd, callback, *args, context = None))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Object<'py>,
        callback: Object<'py>,
        args: Bound<'py, PyTuple>,
        context: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Handle>> {
        add(slf, fd, Direction::Write, (callback, args, context))
    }

    fn _remove_reader(&self, fd: &Object<'_>) -> PyResult<bool> {
        self.remove(fd, Direction::Read)
    }

    fn _remove_writer(&self, fd: &Object<'_>) -> PyResult<bool> {
        self.remove(fd, Direction::Write)
    }

    /// What is waited for on the descriptor: 1 reading, 2 writing, 3 both.
    fn _watched_events(&self, py: Python<'_>, fd: Fd) -> u8 {
        let interest = self.sources.with(py, |sources| sources.interest(fd));
        u8::from(interest.contains(Interest::READ)) | u8::from(interest.contains(Interest::WRITE)) << 1
    }
}

impl EventLoop {
    /// Lets a transport wait for its socket.
    pub(crate) fn watch_transport(
        &self,
        py: Python<'_>,
        fd: Fd,
        direction: Direction,
        transport: AnyTransport,
    ) -> PyResult<()> {
        self.watch(py, fd, direction, Watcher::Transport(transport))
    }

    /// Lets a future wait for a descriptor.
    pub(crate) fn watch_future(
        &self,
        py: Python<'_>,
        fd: Fd,
        direction: Direction,
        future: Owned<Future>,
    ) -> PyResult<()> {
        if self.is_closed() {
            return Err(errors::loop_is_closed());
        }
        self.watch(py, fd, direction, Watcher::Future(future))
    }

    /// Lets a future wait for reading from a socket, which is to stay registered.
    pub(crate) fn watch_socket(&self, fd: Fd, future: &Bound<'_, Future>) -> PyResult<()> {
        if self.is_closed() {
            return Err(errors::loop_is_closed());
        }
        let py = future.py();
        let replaced = self.sources.with(py, |sources| sources.watch_socket(fd, future));
        self.has_watched(py, replaced.map_err(errors::os_error)?)
    }

    /// The future waits no more; whoever has taken its place goes on.
    pub(crate) fn unwatch_future(
        &self,
        py: Python<'_>,
        fd: Fd,
        direction: Direction,
        future: &Bound<'_, Future>,
    ) {
        let (watcher, file) = self.sources.with(py, |sources| {
            let watcher = sources.unwatch_future(fd, direction, future);
            let file = watcher.as_ref().and_then(|_| sources.release_file(fd));
            (watcher, file)
        });
        if watcher.is_some() && direction == Direction::Read {
            self.end_receive(py);
        }
        drop((watcher, file));
    }

    /// The handle was cancelled: it waits no more, unless another has taken its place.
    pub(super) fn unwatch_handle(
        &self,
        py: Python<'_>,
        (fd, direction): (Fd, Direction),
        handle: &Bound<'_, Handle>,
    ) -> PyResult<()> {
        let is_watcher = self.sources.with(py, |sources| sources.is_watched_by(fd, direction, handle));
        if is_watcher { self.unwatch(py, fd, direction).map(drop) } else { Ok(()) }
    }

    /// Nobody waits for the socket in this direction any more.
    pub(crate) fn unwatch(&self, py: Python<'_>, fd: Fd, direction: Direction) -> PyResult<bool> {
        let (watcher, file) =
            self.sources.with(py, |sources| (sources.unwatch(fd, direction), sources.release_file(fd)));
        let found = watcher.is_some();
        if let Some(Watcher::Handle(handle)) = watcher {
            handle::cancel(handle.bind(py))?;
        }
        drop(file);
        Ok(found)
    }

    fn watch(&self, py: Python<'_>, fd: Fd, direction: Direction, watcher: Watcher) -> PyResult<()> {
        match self.sources.with(py, |sources| sources.watch(fd, direction, watcher)) {
            Ok(replaced) => self.has_watched(py, replaced),
            Err((error, refused)) => {
                drop(refused);
                Err(errors::os_error(error))
            }
        }
    }

    /// Somebody waits, in the place of who is `replaced`.
    fn has_watched(&self, py: Python<'_>, replaced: Option<Watcher>) -> PyResult<()> {
        self.flags.set(Flag::PollsNext, true);
        match replaced {
            Some(Watcher::Handle(replaced)) => handle::cancel(replaced.bind(py)),
            _ => Ok(()),
        }
    }

    fn remove(&self, fd: &Object<'_>, direction: Direction) -> PyResult<bool> {
        if self.is_closed() {
            return Ok(false);
        }
        let py = fd.py();
        let number = match to_fd(fd) {
            // A file that was closed while it was watched has no number, and is known by identity.
            Err(error) if error.is_instance_of::<PyValueError>(py) => {
                self.sources.with(py, |sources| sources.fd_of_file(fd)).ok_or(error)?
            }
            // No descriptor has such a number.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => return Ok(false),
            number => number?,
        };
        self.unwatch(py, number, direction)
    }
}

fn add<'py>(
    slf: &Bound<'py, EventLoop>,
    fd: &Object<'py>,
    direction: Direction,
    (callback, args, context): (Object<'py>, Bound<'py, PyTuple>, Option<Object<'py>>),
) -> PyResult<Bound<'py, Handle>> {
    let py = slf.py();
    let event_loop = slf.get();
    if event_loop.is_closed() {
        return Err(errors::loop_is_closed());
    }
    let file = fd;
    let fd = to_fd(file)?;
    let handle = Handle::create(slf.as_any(), callback, CallArgs::new(py, args.as_slice())?, context)?;
    if event_loop.debug() {
        handle.value().set_source_traceback(py)?;
    }
    event_loop.watch(py, fd, direction, Watcher::Handle((&handle).into()))?;
    if !file.is_instance_of::<PyInt>() {
        let spare = event_loop.sources.with(py, |sources| sources.keep_file(fd, file.into()));
        drop(spare);
    }
    Ok(handle)
}

/// A number, or an object with `fileno()`, as `selectors` takes them.
fn to_fd(object: &Object<'_>) -> PyResult<Fd> {
    let py = object.py();
    let invalid = || match object.repr() {
        Ok(repr) => PyValueError::new_err(format!("Invalid file object: {repr}")),
        Err(error) => error,
    };
    let number = if object.is_instance_of::<PyInt>() {
        object.clone()
    } else {
        match object.call_method0(names::fileno(py)) {
            Ok(number) => number,
            Err(error) if error.is_instance_of::<PyAttributeError>(py) => match object.extract::<Fd>() {
                Ok(_) => object.clone(),
                Err(_) => return Err(invalid()),
            },
            Err(error) => return Err(error),
        }
    };
    match number.extract::<Fd>() {
        Ok(fd) if fd >= 0 => Ok(fd),
        Ok(fd) => Err(PyValueError::new_err(format!("Invalid file descriptor: {fd}"))),
        Err(error) if !error.is_instance_of::<PyOverflowError>(py) => Err(invalid()),
        Err(_) if number.lt(0)? => {
            Err(PyValueError::new_err(format!("Invalid file descriptor: {}", number.str()?)))
        }
        // A number that no descriptor has.
        Err(error) => Err(error),
    }
}
