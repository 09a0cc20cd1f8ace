//! AcceptedSocket: a connection that came, whose Python socket is made when somebody asks for it.
//!
//! It owns the descriptor, and is in the place of a socket where a transport keeps the owner of its own.
//! Invariant: the descriptor has one owner. That is this object until `as_socket()` hands it over to a socket
//! object for good; from then on this one only passes on what it is asked.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::prelude::*;
use tonnage_core::reactor::Fd;
use tonnage_core::reactor::accept::{self, Name};
use tonnage_core::reactor::datagram::Address;

use super::datagram::address_object;
use crate::cpython::native_class::{create, exact};
use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::{errors, names};

pub(crate) struct AcceptedSocket {
    kind: Kind,
    peer: Option<Name>,
    state: Guarded<State>,
}

/// What its listening socket is, and so it.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    family: u16,
    r#type: u16,
    protocol: u16,
}

struct State {
    descriptor: Descriptor,
    own_name: OwnName,
}

/// What this end is called: the kernel knows, for as long as there is a descriptor.
enum OwnName {
    NotAsked,
    Known(Option<Name>),
    /// As the listening socket, and all of its connections.
    Shared(Owned),
}

enum Descriptor {
    Own(OwnedFd),
    /// The socket object has it.
    Of(Owned),
    Closed,
}

impl Kind {
    /// What a listening socket's connections are; `None` if it is not of a kind that we accept ourselves.
    pub(super) fn of_listener(sock: &Object<'_>) -> PyResult<Option<Self>> {
        let py = sock.py();
        // Of another class, its parts may be no numbers: tests put mocks in its place.
        if !sock.get_type().is(names::socket_class(py)?) {
            return Ok(None);
        }
        let part = |name| sock.getattr(name)?.extract();
        let family = part(names::family(py))?;
        if !accept::FAMILIES.contains(&i32::from(family)) {
            return Ok(None);
        }
        Ok(Some(Self { family, r#type: part(names::r#type(py))?, protocol: part(names::proto(py))? }))
    }
}

impl AcceptedSocket {
    /// The next connection of a listening socket of that kind.
    pub(super) fn accept<'py>(
        py: Python<'py>,
        listener: Fd,
        kind: Kind,
        own_name: Option<&Object<'py>>,
    ) -> PyResult<Bound<'py, Self>> {
        let (fd, peer) = accept::accept(listener).map_err(errors::os_error)?;
        let own_name = own_name.map_or(OwnName::NotAsked, |name| OwnName::Shared(name.into()));
        let state = State { descriptor: Descriptor::Own(fd), own_name };
        create(py, AcceptedSocket { kind, peer, state: Guarded::new(state) })
    }

    #[inline]
    pub(super) fn of<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Self>> {
        exact::<Self>(object)
    }

    /// The socket object behind an owner of a descriptor, which most owners are themselves.
    pub(super) fn socket_of(owner: Object<'_>) -> PyResult<Object<'_>> {
        match Self::of(&owner) {
            Some(accepted) => accepted.value().as_socket(owner.py()),
            None => Ok(owner),
        }
    }

    /// Has it send small writes at once, if it is of TCP.
    pub(super) fn set_nodelay(&self, py: Python<'_>) -> PyResult<()> {
        if i32::from(self.kind.protocol) != accept::TCP {
            return Ok(());
        }
        accept::set_nodelay(self.fileno(py)?).map_err(errors::os_error)
    }

    pub(super) fn peer<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        name_object(py, self.peer.as_ref())
    }

    /// As `socket.getsockname()`, or `None` if the socket did not say.
    pub(super) fn own_name<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        self.ask_own_name(py)?;
        let known = self.state.with(py, |state| match &state.own_name {
            OwnName::Shared(name) => Ok(name.get_bound(py)),
            OwnName::Known(name) => Err(name.clone()),
            OwnName::NotAsked => Err(None),
        });
        known.or_else(|name| name_object(py, name.as_ref()))
    }

    /// Later there may be no descriptor to ask for.
    fn ask_own_name(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.with(py, |state| matches!(state.own_name, OwnName::NotAsked)) {
            let name = accept::own_name(self.fileno(py)?).unwrap_or_default();
            self.state.with(py, |state| state.own_name = OwnName::Known(name));
        }
        Ok(())
    }

    /// As `socket.fileno()`: -1 once it is closed.
    #[inline]
    pub(super) fn fileno(&self, py: Python<'_>) -> PyResult<Fd> {
        let known = self.state.with(py, |state| match &state.descriptor {
            Descriptor::Own(fd) => Ok(fd.as_raw_fd()),
            Descriptor::Of(socket) => Err(socket.get_bound(py)),
            Descriptor::Closed => Ok(-1),
        });
        known.or_else(|socket| socket.call_method0(names::fileno(py))?.extract())
    }

    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.ask_own_name(py)?;
        let was = self.state.with(py, |state| match &state.descriptor {
            Descriptor::Of(socket) => Descriptor::Of(socket.share(py)),
            _ => std::mem::replace(&mut state.descriptor, Descriptor::Closed),
        });
        match was {
            // It may linger, as the option of this name has it.
            Descriptor::Own(fd) => py.detach(|| drop(fd)),
            Descriptor::Of(socket) => socket.bind(py).call_method0(names::close(py)).map(drop)?,
            Descriptor::Closed => {}
        }
        Ok(())
    }

    /// The socket object, which owns the descriptor from then on; a closed one once it is closed.
    pub(super) fn as_socket<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        self.ask_own_name(py)?;
        let was = self.state.with(py, |state| match &state.descriptor {
            Descriptor::Of(socket) => Descriptor::Of(socket.share(py)),
            _ => std::mem::replace(&mut state.descriptor, Descriptor::Closed),
        });
        let class = names::socket_class(py)?;
        let Kind { family, r#type, protocol } = self.kind;
        let made = match was {
            Descriptor::Of(socket) => return Ok(socket.into_bound(py)),
            Descriptor::Closed => {
                let made = class.call1((family, r#type, protocol))?;
                made.call_method0(names::close(py))?;
                made
            }
            // The descriptor is given away before the call. If that is interrupted, nobody can tell whether
            // the object has it: better lost than closed twice.
            Descriptor::Own(fd) => {
                let r#type = i32::from(r#type) | accept::NEVER_WAITS;
                class.call1((family, r#type, protocol, fd.into_raw_fd()))?
            }
        };
        let kept = Owned::from(&made);
        let old = self.state.with(py, |state| std::mem::replace(&mut state.descriptor, Descriptor::Of(kept)));
        drop(old);
        Ok(made)
    }
}

impl NativeClass for AcceptedSocket {
    const NAME: &'static CStr = c"tonnage._tonnage.AcceptedSocket";
    const DOC: &'static CStr = c"A connection that came, whose socket is made when somebody asks for it.";
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.getter(c"peername", |accepted| accepted.value().peer(accepted.py()));
        slots.no_args(c"fileno", c"Return the descriptor; -1 once it is closed.", |accepted| {
            let py = accepted.py();
            Ok(accepted.value().fileno(py)?.into_pyobject(py)?.into_any())
        });
        slots.no_args(c"close", c"Close the connection.", |accepted| {
            let py = accepted.py();
            accepted.value().close(py)?;
            Ok(py.None().into_bound(py))
        });
        slots.no_args(
            c"as_socket",
            c"Return the socket object, which owns the descriptor from then on.",
            |accepted| accepted.value().as_socket(accepted.py()),
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let socket = match &state.descriptor {
                Descriptor::Of(socket) => Some(&**socket),
                _ => None,
            };
            let own_name = match &state.own_name {
                OwnName::Shared(name) => Some(&**name),
                _ => None,
            };
            match visit.option(socket) {
                0 => visit.option(own_name),
                shown => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self.state.with(py, |state| {
            let is_socket = matches!(state.descriptor, Descriptor::Of(_));
            let socket = is_socket.then(|| std::mem::replace(&mut state.descriptor, Descriptor::Closed));
            (socket, std::mem::replace(&mut state.own_name, OwnName::Known(None)))
        });
        drop(gone);
    }
}

/// A name as Python's sockets have it; nothing is one of a family that is not ours.
fn name_object<'py>(py: Python<'py>, name: Option<&Name>) -> PyResult<Object<'py>> {
    address_object(py, name.map_or(Address::Unknown, Name::address))
}
