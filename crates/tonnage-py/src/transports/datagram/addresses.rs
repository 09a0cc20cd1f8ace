//! Addresses: Python's tuples and strings, and what the kernel takes and gives.
//!
//! Only literal addresses are read here. All else goes to the Python socket, which resolves names and
//! knows what to say of what is no address.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::prelude::OsStrExt as _;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};
use tonnage_core::reactor::datagram::{Address, Destination, Family};

use crate::cpython::Object;
use crate::names;

/// The flow label of IPv6 has 20 bits; Python refuses more.
const FLOW_MAX: u32 = 0xf_ffff;

/// The family of a socket; `Other` if the Python socket receives and sends itself, because its class does so in its
/// own way, as that of a proxy does.
pub(super) fn family_of(sock: &Object<'_>) -> PyResult<Family> {
    let py = sock.py();
    let (class, plain) = (sock.get_type(), names::python_socket(py)?);
    for method in [names::recvfrom(py), names::sendto(py), names::send(py)] {
        let own = class.getattr_opt(method)?;
        if !own.is_some_and(|own| plain.getattr(method).is_ok_and(|plain| plain.is(&own))) {
            return Ok(Family::Other);
        }
    }
    Ok(Family::of(sock.getattr(names::family(py))?.extract()?))
}

/// Reads a literal address; `None` if the Python socket has to look at it.
#[inline]
pub(super) fn read(family: Family, address: &Object<'_>) -> Option<Destination> {
    match family {
        Family::V4 => read_v4(address.cast_exact().ok()?),
        Family::V6 => read_v6(address.cast_exact().ok()?),
        Family::Unix => read_unix(address),
        Family::Other => None,
    }
}

fn read_v4(address: &Bound<'_, PyTuple>) -> Option<Destination> {
    let [host, port] = address.as_slice() else { return None };
    let host: Ipv4Addr = text(host)?.parse().ok()?;
    Some(Destination::Inet(SocketAddr::V4(SocketAddrV4::new(host, number(port)?))))
}

fn read_v6(address: &Bound<'_, PyTuple>) -> Option<Destination> {
    let (host, port, flow, scope) = match address.as_slice() {
        [host, port] => (host, port, None, None),
        [host, port, flow] => (host, port, Some(flow), None),
        [host, port, flow, scope] => (host, port, Some(flow), Some(scope)),
        _ => return None,
    };
    let host: Ipv6Addr = text(host)?.parse().ok()?;
    let flow: u32 = flow.map_or(Some(0), number)?;
    let scope: u32 = scope.map_or(Some(0), number)?;
    if flow > FLOW_MAX {
        return None;
    }
    Some(Destination::Inet(SocketAddr::V6(SocketAddrV6::new(host, number(port)?, flow, scope))))
}

fn read_unix(address: &Object<'_>) -> Option<Destination> {
    let name = match address.cast_exact::<PyBytes>() {
        Ok(name) => name.as_bytes(),
        // In every encoding of file names, ASCII is itself.
        Err(_) => Some(text(address)?.as_bytes()).filter(|path| path.is_ascii())?,
    };
    match name {
        [] => None,
        [0, name @ ..] => Destination::abstract_name(name),
        path => Destination::path(path),
    }
}

fn text<'a>(object: &'a Object<'_>) -> Option<&'a str> {
    object.cast_exact::<PyString>().ok()?.to_str().ok()
}

fn number<'py, N: for<'a> FromPyObject<'a, 'py>>(object: &Object<'py>) -> Option<N> {
    object.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// The address as Python's sockets give it.
pub(in crate::transports) fn address_object<'py>(
    py: Python<'py>,
    address: Address<'_>,
) -> PyResult<Object<'py>> {
    Ok(match address {
        Address::Inet(SocketAddr::V4(address)) => {
            (host(py, address.ip()), address.port()).into_pyobject(py)?.into_any()
        }
        Address::Inet(SocketAddr::V6(address)) => {
            let ip = address.ip();
            // As glibc writes the addresses that stand for one of IPv4.
            let host = match ip.segments() {
                [0, 0, 0, 0, 0, 0, 1..=u16::MAX, _] => {
                    host(py, format_args!("::{}", Ipv4Addr::from_bits(ip.to_bits() as u32)))
                }
                _ => host(py, ip),
            };
            (host, address.port(), address.flowinfo(), address.scope_id()).into_pyobject(py)?.into_any()
        }
        Address::Path(path) => OsStr::from_bytes(path).into_pyobject(py)?.into_any(),
        Address::Abstract(name) => PyBytes::new(py, name).into_any(),
        Address::None | Address::Unknown => py.None().into_bound(py),
    })
}

/// The text of an address, which has at most 45 bytes.
fn host<'py>(py: Python<'py>, address: impl Display) -> Bound<'py, PyString> {
    let mut text = [0; 45];
    let mut rest = &mut text[..];
    let fits = write!(rest, "{address}").is_ok();
    debug_assert!(fits, "an address of IPv6 is no longer");
    let len = 45 - rest.len();
    PyString::from_bytes(py, &text[..len]).expect("an address is ASCII")
}
