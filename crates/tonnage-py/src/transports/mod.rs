//! Transports: how bytes get from a socket to a protocol, and back.

mod socket;

pub(crate) use socket::SocketTransport;
