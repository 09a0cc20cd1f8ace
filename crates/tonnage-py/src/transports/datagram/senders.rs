//! The addresses of the latest senders as Python objects, because who sends once sends again, and is answered.
//!
//! So each gets the same tuple again, and what `sendto` is given need not be read if it is the latest one.

use std::net::SocketAddr;

use pyo3::prelude::*;

use crate::cpython::{Object, Owned, Visit};

/// So many senders are known at once. A power of two.
const PLACES: usize = 16;

pub(super) struct Senders {
    /// Each sender has one place where it may be; empty until somebody sends.
    places: Vec<Option<Known>>,
    latest: usize,
}

pub(super) struct Known {
    address: SocketAddr,
    object: Owned<PyAny>,
}

impl Senders {
    pub(super) const fn new() -> Self {
        Self { places: vec![], latest: 0 }
    }

    /// The object that was made of `address`.
    #[inline]
    pub(super) fn find<'py>(&mut self, py: Python<'py>, address: &SocketAddr) -> Option<Object<'py>> {
        let place = place_of(address);
        let known = self.places.get(place)?.as_ref().filter(|known| known.address == *address)?;
        self.latest = place;
        Some(known.object.get_bound(py))
    }

    /// Remembers what was made of `address`; hands back what was known in its place.
    #[must_use]
    pub(super) fn remember(&mut self, address: SocketAddr, object: &Object<'_>) -> Option<Known> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        self.latest = place_of(&address);
        self.places[self.latest].replace(Known { address, object: object.into() })
    }

    /// The address of the latest sender, if this is the object that was made of it.
    #[inline]
    pub(super) fn address_of(&self, object: &Object<'_>) -> Option<SocketAddr> {
        let known = self.places.get(self.latest)?.as_ref()?;
        known.object.is(object).then_some(known.address)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let mut objects = self.places.iter().flatten().map(|known| visit.call(&known.object));
        objects.find(|shown| *shown != 0).unwrap_or(0)
    }
}

#[inline]
fn place_of(address: &SocketAddr) -> usize {
    let host = match address {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(address) => address.ip().octets()[15],
    };
    usize::from(address.port() ^ u16::from(host)) % PLACES
}
