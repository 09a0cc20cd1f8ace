//! Datagrams: UDP, Unix datagrams, and whatever else keeps the borders of messages.
//!
//! The meaning is that of CPython 3.15, Lib/asyncio/selector_events.py, _SelectorDatagramTransport, on
//! every version. One thing differs: several datagrams may be received in one go, see `receiving.rs`.

mod addresses;
mod attributes;
mod class;
mod closing;
mod methods;
mod opening;
mod receiving;
mod senders;
mod sending;

pub(super) use addresses::address_object;
pub(crate) use class::DatagramTransport;
