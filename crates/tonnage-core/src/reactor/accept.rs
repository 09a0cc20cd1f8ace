//! The system calls that take a connection from a listening socket, and what the ends of one are called.
//!
//! As thin as those of [`super::socket`].

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::retry_on_intr;
use rustix::net::sockopt;
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags};

use super::Fd;
use super::datagram::Address;
use super::socket::borrow;

/// The protocol number of TCP, which no other sockets have.
pub const TCP: i32 = libc::IPPROTO_TCP;

/// The option that [`set_nodelay`] sets.
pub const NODELAY: i32 = libc::TCP_NODELAY;

/// In the type of a socket, that it never waits.
pub const NEVER_WAITS: i32 = libc::SOCK_NONBLOCK;

/// The families whose connections we accept ourselves.
pub const FAMILIES: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX];

/// The errors of [`accept`] by which Linux hands on what became of one connection: its peer gave up before its
/// turn came, or a firewall forbids it. The manual says to try again: the next in line is all right.
pub const GONE: [i32; 9] = [
    libc::ECONNABORTED,
    libc::ECONNRESET,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::EPERM,
    libc::EPROTO,
    libc::ETIMEDOUT,
];

/// What an end of a connection is called, in the families whose connections we accept ourselves. Each connection
/// keeps one: the usual ones are small.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    V4(SocketAddrV4),
    /// Of a Unix socket that was never bound.
    Unbound,
    Other(Box<OtherName>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OtherName {
    Inet(SocketAddr),
    /// A path of a Unix socket.
    Path(Vec<u8>),
    /// The name of a Unix socket that has no path: with the zero byte that begins it.
    Abstract(Vec<u8>),
}

impl Name {
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        match self {
            Self::V4(address) => Address::Inet(SocketAddr::V4(*address)),
            Self::Unbound => Address::Path(&[]),
            Self::Other(name) => match &**name {
                OtherName::Inet(address) => Address::Inet(*address),
                OtherName::Path(path) => Address::Path(path),
                OtherName::Abstract(name) => Address::Abstract(name),
            },
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(_) => Self::Other(Box::new(OtherName::Inet(address))),
        }
    }
}

/// Takes the next connection; its socket never waits, and is closed in programs that this one starts.
/// The name of the peer is `None` in a family that is not ours.
pub fn accept(listener: Fd) -> io::Result<(OwnedFd, Option<Name>)> {
    let listener = borrow(listener)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (connection, peer) = retry_on_intr(|| net::acceptfrom_with(listener, flags))?;
    Ok((connection, peer.and_then(name)))
}

/// Does a connection wait, or an error that a call of [`accept`] would hand on?
pub fn is_waiting(listener: Fd) -> io::Result<bool> {
    let listener = borrow(listener)?;
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut asked = [PollFd::new(&listener, PollFlags::IN)];
    Ok(retry_on_intr(|| event::poll(&mut asked, Some(&at_once)))? > 0)
}

/// What this end of a socket is called; `None` in a family that is not ours.
pub fn own_name(socket: Fd) -> io::Result<Option<Name>> {
    Ok(name(net::getsockname(borrow(socket)?)?))
}

/// Has a TCP socket send small writes without waiting for an acknowledgement of the one before.
pub fn set_nodelay(socket: Fd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(borrow(socket)?, true)?)
}

fn name(address: SocketAddrAny) -> Option<Name> {
    match address.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => SocketAddr::try_from(address).ok().map(Name::from),
        // Of one that was never bound, the kernel tells the family only. rustix would make it an empty name.
        AddressFamily::UNIX if address.addr_len() as usize <= size_of::<libc::sa_family_t>() => {
            Some(Name::Unbound)
        }
        AddressFamily::UNIX => {
            let address = SocketAddrUnix::try_from(address).ok()?;
            let name = match address.abstract_name() {
                Some(name) => OtherName::Abstract([&[0], name].concat()),
                None => OtherName::Path(address.path_bytes().unwrap_or_default().to_vec()),
            };
            Some(Name::Other(Box::new(name)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    #[test]
    fn accepted_socket_knows_both_ends_and_never_waits() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
        assert!(is_waiting(listener.as_raw_fd()).expect("open"));
        let (accepted, peer) = accept(listener.as_raw_fd()).expect("one waits");
        assert!(!is_waiting(listener.as_raw_fd()).expect("open"));
        let name_of = |address| Some(Name::from(address));
        assert_eq!(peer, name_of(client.local_addr().expect("connected")));
        let own = own_name(accepted.as_raw_fd()).expect("open");
        assert_eq!(own, name_of(client.peer_addr().expect("connected")));
        set_nodelay(accepted.as_raw_fd()).expect("TCP");
        let accepted = TcpStream::from(accepted);
        assert!(accepted.nodelay().expect("TCP"));
        let error = io::Read::read(&mut &accepted, &mut [0]).expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn unix_sockets_have_paths_or_abstract_names_or_none() {
        let bytes = format!("tonnage-accept-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&bytes).expect("short");
        let listener = UnixListener::bind_addr(&address).expect("bind");
        let _client = UnixStream::connect_addr(&address).expect("connect");
        let (accepted, peer) = accept(listener.as_raw_fd()).expect("one waits");
        assert_eq!(peer, Some(Name::Unbound));
        let own = own_name(accepted.as_raw_fd()).expect("open");
        let abstract_name = OtherName::Abstract([b"\0", bytes.as_bytes()].concat());
        assert_eq!(own, Some(Name::Other(Box::new(abstract_name))));
    }

    #[test]
    fn nobody_there_is_would_block() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let error = accept(listener.as_raw_fd()).expect_err("nobody connects");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(accept(-1).expect_err("no descriptor").raw_os_error(), Some(libc::EBADF));
    }
}
