//! AcceptedSocket: a connection that came, whose Python socket is made when somebody asks for it.
//!
//! It owns the descriptor, and is in the place of a socket where a transport keeps the owner of its own.
//! Invariant: the descriptor has one owner. That is this object until `as_socket()` hands it over to a socket
//! object for good; from then on this one only passes on what it is asked.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use tonnage_core::reactor::Fd;
use tonnage_core::reactor::accept::{self, Name};
use tonnage_core::reactor::datagram::Address;

use super::datagram::address_object;
use crate::cpython::native_class::{create, exact};
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::future::to_bool;
use crate::{errors, names};

pub(crate) struct AcceptedSocket {
    kind: Kind,
    state: Guarded<State>,
}

/// What its listening socket is, and so it.
struct Kind {
    family: i32,
    r#type: i32,
    protocol: i32,
}

struct State {
    descriptor: Descriptor,
    peer: Option<Owned>,
}

enum Descriptor {
    Own(OwnedFd),
    /// The socket object has it.
    Of(Owned),
    Closed,
}

/// `accept(listener, family, type, proto)`: the next connection of a listening socket of that kind.
pub(crate) fn accept<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let ([listener, family, r#type, protocol], false) = (args.positional(), args.has_keywords()) else {
        return Err(PyTypeError::new_err("accept() takes a descriptor, a family, a type and a protocol"));
    };
    let kind = Kind { family: family.extract()?, r#type: r#type.extract()?, protocol: protocol.extract()? };
    let (fd, peer) = accept::accept(listener.extract()?).map_err(errors::os_error)?;
    let peer = Owned::from(name_object(py, peer)?);
    let state = State { descriptor: Descriptor::Own(fd), peer: Some(peer) };
    Ok(create(py, AcceptedSocket { kind, state: Guarded::new(state) })?.into_any())
}

/// `is_waiting(listener)`: would `accept` find a connection?
pub(crate) fn is_waiting<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let Some(listener) = args.single() else {
        return Err(PyTypeError::new_err("is_waiting() takes a descriptor"));
    };
    let waits = accept::is_waiting(listener.extract()?).map_err(errors::os_error)?;
    Ok(to_bool(args.py(), waits))
}

impl AcceptedSocket {
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
        if self.kind.protocol != accept::TCP {
            return Ok(());
        }
        accept::set_nodelay(self.fileno(py)?).map_err(errors::os_error)
    }

    pub(super) fn peer<'py>(&self, py: Python<'py>) -> Object<'py> {
        let peer = self.state.with(py, |state| state.peer.as_ref().map(|peer| peer.get_bound(py)));
        peer.unwrap_or_else(|| py.None().into_bound(py))
    }

    /// As `socket.getsockname()`, or `None` if the socket does not say.
    pub(super) fn own_name<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let fd = self.fileno(py)?;
        name_object(py, accept::own_name(fd).unwrap_or_default())
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

    fn close(&self, py: Python<'_>) -> PyResult<()> {
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
                class.call1((family, r#type | accept::NEVER_WAITS, protocol, fd.into_raw_fd()))?
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
        slots.getter(c"peername", |accepted| Ok(accepted.value().peer(accepted.py())));
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
            match visit.option(socket) {
                0 => visit.option(state.peer.as_deref()),
                shown => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self.state.with(py, |state| {
            let is_socket = matches!(state.descriptor, Descriptor::Of(_));
            let socket = is_socket.then(|| std::mem::replace(&mut state.descriptor, Descriptor::Closed));
            (socket, state.peer.take())
        });
        drop(gone);
    }
}

/// A name as Python's sockets have it; nothing is one of a family that is not ours.
fn name_object(py: Python<'_>, name: Option<Name>) -> PyResult<Object<'_>> {
    address_object(py, name.as_ref().map_or(Address::Unknown, Name::address))
}
