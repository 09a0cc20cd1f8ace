//! Connections: those of one server that are open, and what became of all that came.
//!
//! `python/tonnage/server.py` inherits from it. A transport attaches when it is made, and detaches before it
//! is gone. It is known by a weak reference only, so that one that was abandoned is collected, and warns.

use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefMethods, PyWeakrefReference};
use tonnage_core::number_map::NumberMap;

use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::future::to_bool;
use crate::names;

pub(crate) struct Connections {
    state: Guarded<State>,
}

#[derive(Default)]
struct State {
    /// The open transports, by address.
    clients: NumberMap<usize, Client>,
    /// How many have attached.
    attached: u64,
    /// Transports of CPython 3.12 and before do not name themselves when they attach, and count as well.
    open: usize,
    max_connections: Option<usize>,
    /// Accepted, and their transports are being made: a protocol factory that runs may close the server.
    begun: usize,
    /// Is the server to be told of each end?
    tells: bool,
    peak: usize,
    accepted: usize,
    aborted: usize,
    failed: usize,
}

impl State {
    /// Is no connection open, nor about to be?
    fn is_idle(&self) -> bool {
        self.open + self.begun == 0
    }
}

struct Client {
    /// Which one it is, in the order in which they came.
    number: u64,
    transport: Owned<PyWeakrefReference>,
}

const INIT: Parameters<1> =
    Parameters { function: "Connections", names: ["max_connections"], positional: 1, required: 0 };

fn init(connections: &Bound<'_, Connections>, args: Args<'_, '_>) -> PyResult<()> {
    let [max_connections] = args.parse(&INIT)?.map(|value| value.filter(|value| !value.is_none()));
    let max_connections = max_connections.map(|value| value.extract()).transpose()?;
    connections.value().state.with(args.py(), |state| state.max_connections = max_connections);
    Ok(())
}

impl Connections {
    /// A connection of the server has got its transport.
    pub(super) fn attach(&self, transport: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        let weak = Owned::from(PyWeakrefReference::new(transport)?);
        let old = self.state.with(py, |state| {
            state.attached += 1;
            let client = Client { number: state.attached, transport: weak };
            state.clients.insert(address(transport), client)
        });
        drop(old);
        self.count_open(py);
        Ok(())
    }

    fn count_open(&self, py: Python<'_>) {
        self.state.with(py, |state| {
            state.open += 1;
            state.peak = state.peak.max(state.open);
        });
    }

    /// The connection is lost, or its transport collected.
    pub(super) fn detach(connections: &Bound<'_, Self>, transport: Option<&Object<'_>>) -> PyResult<()> {
        let py = connections.py();
        let (gone, tells) = connections.value().state.with(py, |state| {
            state.open = state.open.saturating_sub(1);
            (transport.and_then(|transport| state.clients.remove(&address(transport))), state.tells)
        });
        drop(gone);
        if tells { connections.call_method0(names::_connection_ended(py)).map(drop) } else { Ok(()) }
    }

    /// Is there no room for one more?
    pub(super) fn is_full(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.max_connections.is_some_and(|most| state.open >= most))
    }

    /// One was accepted: `note_set_up` is to follow.
    pub(super) fn note_accepted(&self, py: Python<'_>) {
        self.state.with(py, |state| {
            state.accepted += 1;
            state.begun += 1;
        });
    }

    /// What was accepted has its transport, or came to nothing.
    pub(super) fn note_set_up(connections: &Bound<'_, Self>) -> PyResult<()> {
        let py = connections.py();
        let is_end = connections.value().state.with(py, |state| {
            state.begun -= 1;
            state.tells && state.is_idle()
        });
        if is_end { connections.call_method0(names::_connection_ended(py)).map(drop) } else { Ok(()) }
    }

    pub(super) fn note_aborted(&self, py: Python<'_>) {
        self.state.with(py, |state| state.aborted += 1);
    }

    /// The open transports that are still there, the oldest first.
    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut known: Vec<_> = self.state.with(py, |state| {
            state.clients.values().map(|client| (client.number, client.transport.get_bound(py))).collect()
        });
        known.sort_unstable_by_key(|(number, _)| *number);
        let open: Vec<_> = known.iter().filter_map(|(_, transport)| transport.upgrade()).collect();
        PyList::new(py, open)
    }
}

fn address(transport: &Object<'_>) -> usize {
    transport.as_ptr().addr()
}

impl NativeClass for Connections {
    const NAME: &'static CStr = c"tonnage._tonnage.Connections";
    const DOC: &'static CStr = c"Connections(max_connections=None)\n--\n\nThe connections of a server.";

    fn empty() -> Option<Self> {
        Some(Self { state: Guarded::new(State::default()) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.with_args(
            c"_attach",
            c"Called by a transport of this server when it is made.",
            |server, args| {
                let py = args.py();
                match one_or_none(&args, "_attach")? {
                    Some(transport) => server.value().attach(&transport)?,
                    None => server.value().count_open(py),
                }
                Ok(py.None().into_bound(py))
            },
        );
        slots.with_args(
            c"_detach",
            c"Called by a transport of this server when its connection is lost or it is collected.",
            |server, args| {
                let py = args.py();
                Self::detach(server, one_or_none(&args, "_detach")?.as_ref())?;
                Ok(py.None().into_bound(py))
            },
        );
        slots.no_args(c"_is_full", c"Tell whether `max_connections` are open.", |server| {
            let py = server.py();
            Ok(to_bool(py, server.value().is_full(py)))
        });
        slots.no_args(c"_note_failed", c"Count a connection that came to nothing.", |server| {
            let py = server.py();
            server.value().state.with(py, |state| state.failed += 1);
            Ok(py.None().into_bound(py))
        });
        slots.getter(c"_clients", |server| Ok(server.value().clients(server.py())?.into_any()));
        slots.no_args(c"_is_idle", c"Tell whether no connection is open, nor about to be.", |server| {
            let py = server.py();
            Ok(to_bool(py, server.value().state.with(py, |state| state.is_idle())))
        });
        slots.getter(c"_open", |server| number(server, |state| Some(state.open)));
        slots.getter(c"_max_connections", |server| number(server, |state| state.max_connections));
        slots.getter(c"_peak", |server| number(server, |state| Some(state.peak)));
        slots.getter(c"_accepted", |server| number(server, |state| Some(state.accepted)));
        slots.getter(c"_aborted", |server| number(server, |state| Some(state.aborted)));
        slots.getter(c"_failed", |server| number(server, |state| Some(state.failed)));
        slots.attribute_pair(
            c"_tells",
            |server| {
                let py = server.py();
                Ok(to_bool(py, server.value().state.with(py, |state| state.tells)))
            },
            |server, tells| {
                let tells = tells.is_truthy()?;
                server.value().state.with(server.py(), |state| state.tells = tells);
                Ok(())
            },
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| visit.each(state.clients.values().map(|client| &client.transport)))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::take(&mut state.clients)));
    }
}

fn number<'py>(
    server: &Bound<'py, Connections>,
    read: impl FnOnce(&State) -> Option<usize>,
) -> PyResult<Object<'py>> {
    let py = server.py();
    Ok(server.value().state.with(py, |state| read(state)).into_pyobject(py)?.into_any())
}

/// The transport that attaches or detaches, if it names itself.
fn one_or_none<'py>(args: &Args<'_, 'py>, function: &'static str) -> PyResult<Option<Object<'py>>> {
    let [transport] =
        args.parse(&Parameters { function, names: ["transport"], positional: 1, required: 0 })?;
    Ok(transport.filter(|transport| !transport.is_none()))
}
