//! Transports: how bytes get from a socket or a pipe to a protocol, and back.
//!
//! The meaning is that of CPython 3.15, Lib/asyncio/selector_events.py and unix_events.py, on every
//! version. One thing differs, and shows only in the number of system calls: what is written to a stream
//! during a turn of the loop leaves at the end of that turn, in one piece.

mod accepted;
mod again;
mod any_kind;
mod attributes;
mod chunks;
mod closing;
mod connections;
mod datagram;
mod file_waiter;
mod flow_control;
mod intake;
mod methods;
mod opening;
mod pipe;
mod reading;
mod socket;
mod source;
mod stream;
mod telling;
mod tls;
pub(crate) mod together;
mod writing;

pub(crate) use accepted::AcceptedSocket;
pub(crate) use any_kind::AnyTransport;
pub(crate) use connections::Connections;
pub(crate) use datagram::DatagramTransport;
pub(crate) use intake::Intake;
pub(crate) use pipe::{ReadPipeTransport, WritePipeTransport};
pub(crate) use socket::SocketTransport;
pub(crate) use stream::StreamTransport;
pub(crate) use tls::{TLSProtocol, TLSTransport};
