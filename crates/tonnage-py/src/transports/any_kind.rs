//! AnyTransport: a transport of any kind, as the loop keeps it while it waits for a descriptor.
//!
//! One reference, whose class tells the kind: so what the loop has ready stays two words.

use pyo3::prelude::*;

use super::{DatagramTransport, StreamTransport};
use crate::cpython::native_class::exact;
use crate::cpython::{Object, Owned, Visit};

pub(crate) struct AnyTransport(Owned<PyAny>);

enum Kind<'a, 'py> {
    Stream(&'a Bound<'py, StreamTransport>),
    Datagram(&'a Bound<'py, DatagramTransport>),
}

impl From<&Bound<'_, StreamTransport>> for AnyTransport {
    #[inline]
    fn from(transport: &Bound<'_, StreamTransport>) -> Self {
        Self(transport.as_any().into())
    }
}

impl From<&Bound<'_, DatagramTransport>> for AnyTransport {
    #[inline]
    fn from(transport: &Bound<'_, DatagramTransport>) -> Self {
        Self(transport.as_any().into())
    }
}

impl AnyTransport {
    #[inline]
    fn kind<'a, 'py>(transport: &'a Object<'py>) -> Kind<'a, 'py> {
        if let Some(transport) = exact::<DatagramTransport>(transport) {
            return Kind::Datagram(transport);
        }
        match transport.cast() {
            Ok(transport) => Kind::Stream(transport),
            Err(_) => Kind::Datagram(transport.cast().expect("it was made from one of the kinds")),
        }
    }

    /// The descriptor is readable. Only what must leave the loop comes back as an error.
    #[inline]
    pub(crate) fn readable(self, py: Python<'_>) -> PyResult<()> {
        let transport = self.0.into_bound(py);
        match Self::kind(&transport) {
            Kind::Stream(transport) => StreamTransport::readable(transport),
            Kind::Datagram(transport) => DatagramTransport::readable(transport),
        }
    }

    /// The descriptor is writable. Only what must leave the loop comes back as an error.
    #[inline]
    pub(crate) fn writable(self, py: Python<'_>) -> PyResult<()> {
        let transport = self.0.into_bound(py);
        match Self::kind(&transport) {
            Kind::Stream(transport) => StreamTransport::writable(transport),
            Kind::Datagram(transport) => DatagramTransport::writable(transport),
        }
    }

    #[inline]
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.share(py))
    }

    pub(crate) fn as_object<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.0.get_bound(py)
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.0)
    }
}
