//! Transports: how bytes get from a socket to a protocol, and back.
//!
//! The meaning is that of CPython 3.15, Lib/asyncio/selector_events.py, on every version. One thing
//! differs, and shows only in the number of system calls: what is written to a stream during a turn of
//! the loop leaves at the end of that turn, in one piece.

mod any_kind;
mod attributes;
mod closing;
mod datagram;
mod flow_control;
mod methods;
mod opening;
mod reading;
mod socket;
mod telling;
mod writing;

pub(crate) use any_kind::AnyTransport;
pub(crate) use datagram::DatagramTransport;
pub(crate) use socket::SocketTransport;
