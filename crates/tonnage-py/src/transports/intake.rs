//! Intake: takes the connections that wait at a listening socket, and gives each its protocol and transport.
//!
//! `python/tonnage/accept.py` decides when: it is called for each turn in which the socket is readable, and
//! says what follows when there is no room, or accepting fails. What is not plain is set up there as well:
//! TLS, sockets of other kinds, debug mode. One connection that comes to nothing never stops the others.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use tonnage_core::reactor::{Fd, accept};

use super::accepted::Kind;
use super::opening::Serving;
use super::{AcceptedSocket, Connections, SocketTransport};
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, context};
use crate::event_loop::EventLoop;
use crate::future::to_bool;
use crate::{errors, names};

pub(crate) struct Intake {
    /// `None` before `__init__`.
    kept: Guarded<Option<Kept>>,
}

struct Kept {
    event_loop: Owned<EventLoop>,
    sock: Owned,
    /// What the connections are, if we accept them ourselves.
    kind: Option<Kind>,
    /// What all of them are called, if that is one name.
    own_name: Option<Owned>,
    protocol_factory: Owned,
    server: Option<Owned<Connections>>,
    /// Each connection runs in a copy.
    context: Option<Owned>,
    /// The loop's weak references to its transports, by descriptor.
    transports: Owned<PyDict>,
    /// Is all set up here?
    is_plain: bool,
    accepts_max: usize,
}

/// What a turn needs of it.
struct Turn<'a, 'py> {
    acceptor: &'a Object<'py>,
    event_loop: Bound<'py, EventLoop>,
    sock: Object<'py>,
    kind: Option<Kind>,
    own_name: Option<Object<'py>>,
    protocol_factory: Object<'py>,
    server: Option<Bound<'py, Connections>>,
    context: Option<Object<'py>>,
    transports: Bound<'py, PyDict>,
    is_plain: bool,
}

const INIT: Parameters<6> = Parameters {
    function: "Intake",
    names: ["loop", "listener", "own_name", "transports", "accepts_max", "is_plain"],
    positional: 6,
    required: 6,
};

fn init(intake: &Bound<'_, Intake>, args: Args<'_, '_>) -> PyResult<()> {
    let py = args.py();
    let [event_loop, listener, own_name, transports, accepts_max, is_plain] =
        args.parse(&INIT)?.map(|value| value.expect("required"));
    let part = |name| Ok::<_, PyErr>(Some(listener.getattr(name)?).filter(|value| !value.is_none()));
    let sock = listener.getattr(names::sock(py))?;
    let server = part(names::server(py))?.map(Bound::cast_into::<Connections>).transpose()?;
    let kept = Kept {
        event_loop: event_loop.cast_into::<EventLoop>()?.into(),
        kind: Kind::of_listener(&sock)?,
        sock: sock.into(),
        own_name: (!own_name.is_none()).then(|| own_name.into()),
        protocol_factory: listener.getattr(names::protocol_factory(py))?.into(),
        server: server.map(Into::into),
        context: part(names::context(py))?.map(Into::into),
        transports: transports.cast_into::<PyDict>()?.into(),
        is_plain: is_plain.is_truthy()?,
        accepts_max: accepts_max.extract()?,
    };
    let old = intake.value().kept.with(py, |place| place.replace(kept));
    drop(old);
    Ok(())
}

impl Intake {
    /// Accepts who waits, so many at most; is the server full?
    fn accept_some<'py>(intake: &Bound<'py, Self>, acceptor: &Object<'py>) -> PyResult<bool> {
        let py = intake.py();
        let turn = intake.value().kept.with(py, |kept| {
            kept.as_ref().map(|kept| {
                let turn = Turn {
                    acceptor,
                    event_loop: kept.event_loop.get_bound(py),
                    sock: kept.sock.get_bound(py),
                    kind: kept.kind,
                    own_name: kept.own_name.as_ref().map(|name| name.get_bound(py)),
                    protocol_factory: kept.protocol_factory.get_bound(py),
                    server: kept.server.as_ref().map(|server| server.get_bound(py)),
                    context: kept.context.as_ref().map(|context| context.get_bound(py)),
                    transports: kept.transports.get_bound(py),
                    is_plain: kept.is_plain,
                };
                (turn, kept.accepts_max)
            })
        });
        let Some((turn, accepts_max)) = turn else { return Ok(false) };
        for number in 0..accepts_max {
            let fd = turn.sock.call_method0(names::fileno(py))?.extract()?;
            if fd < 0 {
                // It was closed by a protocol factory.
                return Ok(false);
            }
            if turn.server.as_ref().is_some_and(|server| server.value().is_full(py)) {
                // The others wait in the backlog.
                return Ok(true);
            }
            if !turn.accept_next(fd, number)? {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

impl<'py> Turn<'_, 'py> {
    /// Takes one connection; may there be another one?
    fn accept_next(&self, fd: Fd, number: usize) -> PyResult<bool> {
        let py = self.sock.py();
        // An accept() that finds nobody makes a socket first and costs 4 µs, a poll() 0.5. Connections
        // come alone or in numbers: where there were two, the rest is accepted until nobody is left.
        if number == 1 && !accept::is_waiting(fd).map_err(errors::os_error)? {
            return Ok(false);
        }
        let taken = match self.kind {
            Some(kind) => AcceptedSocket::accept(py, fd, kind, self.own_name.as_ref()).map(Err),
            // Whoever overrides how a socket accepts is asked.
            None => self.acceptor.call_method0(names::_accept(py)).map(Ok),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) if errors::is_not_ready(py, &error) => return Ok(false),
            Err(error) if errors::has_number(py, &error, &accept::GONE) => {
                if let Some(server) = &self.server {
                    server.value().note_aborted(py);
                }
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if let Some(server) = &self.server {
            server.value().note_accepted(py);
        }
        let set_up = match taken {
            Err(accepted) if self.is_plain && !self.event_loop.get().debug() => self.set_up(&accepted),
            Err(accepted) => {
                (accepted, py.None()).into_pyobject(py).and_then(|pair| self.set_up_elsewhere(pair))
            }
            Ok(pair) => pair.cast_into().map_err(PyErr::from).and_then(|pair| self.set_up_elsewhere(pair)),
        };
        let noted = self.server.as_ref().map_or(Ok(()), Connections::note_set_up);
        set_up.and(noted).map(|()| true)
    }

    fn set_up_elsewhere(&self, arguments: Bound<'py, PyTuple>) -> PyResult<()> {
        self.acceptor.call_method1(names::_set_up(self.sock.py()), arguments).map(drop)
    }

    fn set_up(&self, accepted: &Bound<'py, AcceptedSocket>) -> PyResult<()> {
        let py = self.sock.py();
        let mut protocol = None;
        let made = match &self.context {
            Some(given) => {
                let own = context::copy(given)?;
                context::run(&own, || self.make_transport(accepted, &own, &mut protocol))
            }
            None => self.make_transport(accepted, &context::copy_current(py)?, &mut protocol),
        };
        let Err(error) = made else { return Ok(()) };
        accepted.value().close(py)?;
        if errors::is_exit(py, &error) {
            return Err(error);
        }
        let error = errors::into_object(py, error);
        self.acceptor.call_method1(names::_failed(py), (error, protocol)).map(drop)
    }

    fn make_transport(
        &self,
        accepted: &Bound<'py, AcceptedSocket>,
        own_context: &Object<'py>,
        protocol: &mut Option<Object<'py>>,
    ) -> PyResult<()> {
        let py = self.sock.py();
        let made = protocol.insert(self.protocol_factory.call0()?);
        let fd = accepted.value().fileno(py)?;
        // An entry stays until its number is used again, as asyncio's check allows for.
        if let Some(known) = self.transports.get_item(fd)?
            && known.cast::<PyWeakrefReference>()?.upgrade().is_some()
        {
            self.event_loop.call_method1(names::_ensure_fd_no_transport(py), (fd,))?;
        }
        let serving = Serving {
            event_loop: self.event_loop.clone(),
            accepted: accepted.clone(),
            protocol: made.clone(),
            server: self.server.clone(),
            context: own_context.clone(),
        };
        let transport = SocketTransport::serve(serving)?;
        self.transports.set_item(fd, PyWeakrefReference::new(transport.as_any())?)
    }
}

impl NativeClass for Intake {
    const NAME: &'static CStr = c"tonnage._tonnage.Intake";
    const DOC: &'static CStr = c"Takes the connections that wait at a listening socket.";
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        Some(Self { kept: Guarded::new(None) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.one_arg(
            c"accept_some",
            c"Accept who waits, and tell whether the server is full.",
            |intake, acceptor| Ok(to_bool(intake.py(), Self::accept_some(intake, acceptor)?)),
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.kept.traverse(0, |kept| {
            let Some(kept) = kept else { return 0 };
            let mut shown = visit.call(&kept.event_loop);
            if shown == 0 {
                shown = visit.option(kept.server.as_deref());
            }
            if shown == 0 {
                shown = visit.call(&kept.transports);
            }
            let objects = [
                Some(&kept.sock),
                Some(&kept.protocol_factory),
                kept.own_name.as_ref(),
                kept.context.as_ref(),
            ];
            if shown == 0 { visit.each(objects.into_iter().flatten()) } else { shown }
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.kept.with(py, Option::take));
    }
}
