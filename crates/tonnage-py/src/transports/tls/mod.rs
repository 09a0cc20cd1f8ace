//! TLS: the protocol between a transport that carries encrypted bytes and the user's own protocol.
//!
//! The meaning is that of CPython 3.15, Lib/asyncio/sslproto.py, on every version: the user's context makes
//! an `ssl.SSLObject` over two `ssl.MemoryBIO`s (`engine`), so that all that it says holds. Two things
//! differ. What is written during a turn of the loop is encrypted at its end, small writes in one record;
//! and the transport tells whether the peer ended the stream, or somebody cut it (`tls_truncated`).
//!
//! The way of a byte: `reading` gets what the socket's transport has read, and calls the user's protocol;
//! `writing` gets what the user's protocol writes, and hands it to the `lower` transport.

mod engine;
mod flow_control;
mod handshake;
mod lower;
mod methods;
mod protocol;
mod reading;
mod shutdown;
mod transport;
mod writing;

pub(crate) use protocol::TLSProtocol;
pub(crate) use transport::TLSTransport;
