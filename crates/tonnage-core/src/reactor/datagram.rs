//! The system calls of a datagram transport, beside those of `socket.rs`. None waits, either: whoever shares
//! the socket may have made it blocking.
//!
//! Addresses come as the kernel wrote them, and are read here, because a peer chooses them: a Unix
//! socket may be bound to a path that fills `sun_path`, whose end the kernel puts behind it.

#![allow(unsafe_code, reason = "addresses and counters are read as the kernel writes them")]

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::slice;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{self, AddressFamily, RecvFlags, SocketAddrAny, SocketAddrUnix};

use super::Fd;
use super::socket::{SEND_FLAGS, borrow};

/// Linux, include/uapi/asm-generic/socket.h; libc lacks it.
const SO_MEMINFO: c_int = 55;
/// As many numbers has `SO_MEMINFO`, of which `SK_MEMINFO_DROPS` is the last.
const MEMINFO_LEN: usize = 9;

/// The family of a socket, as far as addresses of it are read and written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Unix,
    Other,
}

impl Family {
    /// The family that the kernel knows by this number.
    #[must_use]
    pub const fn of(number: c_int) -> Self {
        match number {
            libc::AF_INET => Self::V4,
            libc::AF_INET6 => Self::V6,
            libc::AF_UNIX => Self::Unix,
            _ => Self::Other,
        }
    }
}

/// Who sent a datagram, as the kernel wrote it.
pub struct Sender(Option<SocketAddrAny>);

/// What a sender's address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    /// The sender is bound to none, as a Unix socket may be.
    None,
    Inet(SocketAddr),
    /// The path that a Unix socket is bound to, without the NUL at its end.
    Path(&'a [u8]),
    /// The abstract name of a Unix socket, with the NUL at its beginning.
    Abstract(&'a [u8]),
    /// Of another family.
    Unknown,
}

impl Sender {
    #[inline]
    #[must_use]
    pub fn address(&self) -> Address<'_> {
        let Some(address) = &self.0 else { return Address::None };
        match address.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => {
                SocketAddr::try_from(address.clone()).map_or(Address::Unknown, Address::Inet)
            }
            AddressFamily::UNIX => match sun_path(address) {
                [] => Address::None,
                name @ [0, ..] => Address::Abstract(name),
                path => Address::Path(path.split(|byte| *byte == 0).next().unwrap_or(path)),
            },
            _ => Address::Unknown,
        }
    }
}

fn sun_path(address: &SocketAddrAny) -> &[u8] {
    let start = offset_of!(libc::sockaddr_un, sun_path);
    let len = (address.addr_len() as usize).min(size_of::<libc::sockaddr_un>()).saturating_sub(start);
    // SAFETY: `start` is inside of the storage, which is larger than a `sockaddr_un`.
    let first = unsafe { address.as_ptr().cast::<u8>().add(start) };
    // SAFETY: the storage has at least `addr_len` initialised bytes, and `len` does not go beyond them.
    unsafe { slice::from_raw_parts(first, len) }
}

/// Where a datagram is to go.
pub enum Destination {
    Inet(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Destination {
    /// A Unix socket's path, which has no NUL; `None` if it is too long.
    #[must_use]
    pub fn path(path: &[u8]) -> Option<Self> {
        // Python's limit: the NUL at the end has to fit, too.
        if path.len() >= SUN_PATH_LEN {
            return None;
        }
        SocketAddrUnix::new(path).ok().map(Self::Unix)
    }

    /// A Unix socket's abstract name, without the NUL at its beginning; `None` if it is too long.
    #[must_use]
    pub fn abstract_name(name: &[u8]) -> Option<Self> {
        SocketAddrUnix::new_abstract_name(name).ok().map(Self::Unix)
    }
}

const SUN_PATH_LEN: usize = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path);

/// Takes one datagram; what is longer than `buffer` is cut. Returns it, and who sent it.
#[inline]
pub fn recv_from(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(&mut [u8], Sender)> {
    let fd = borrow(fd)?;
    let (count, sender) = retry_on_intr(|| {
        let (_, count, sender) = net::recvfrom(fd, &mut *buffer, RecvFlags::DONTWAIT)?;
        Ok((count, sender))
    })?;
    // SAFETY: the kernel wrote the first `count` bytes.
    Ok((unsafe { buffer[..count].assume_init_mut() }, Sender(sender)))
}

/// Sends one datagram.
#[inline]
pub fn send_to(fd: Fd, bytes: &[u8], destination: &Destination) -> io::Result<()> {
    match destination {
        Destination::Inet(address) => send_to_address(fd, bytes, address),
        Destination::Unix(address) => send_to_address(fd, bytes, address),
    }
}

fn send_to_address(fd: Fd, bytes: &[u8], address: &impl SocketAddrArg) -> io::Result<()> {
    let fd = borrow(fd)?;
    retry_on_intr(|| net::sendto(fd, bytes, SEND_FLAGS, address))?;
    Ok(())
}

/// How many datagrams the kernel dropped because the socket's receive buffer was full.
pub fn dropped(fd: Fd) -> io::Result<u32> {
    let fd = borrow(fd)?;
    let mut numbers = [0_u32; MEMINFO_LEN];
    let size = size_of_val(&numbers);
    let mut len = libc::socklen_t::try_from(size).expect("36 bytes");
    // SAFETY: `numbers` has `len` bytes, which any bytes may fill.
    let outcome = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // Kernels before 4.12 tell less.
    if (len as usize) < size { Err(Errno::NOTSUP.into()) } else { Ok(numbers[MEMINFO_LEN - 1]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    fn receive(receiver: &impl AsRawFd) -> io::Result<(Vec<u8>, Sender)> {
        let mut buffer = [MaybeUninit::uninit(); 64];
        let (bytes, sender) = recv_from(receiver.as_raw_fd(), &mut buffer)?;
        Ok((bytes.to_vec(), sender))
    }

    #[test]
    fn datagrams_come_one_by_one_with_their_sender() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = UdpSocket::bind(host) else { continue };
            let sender = UdpSocket::bind(host).expect("bind");
            let to = Destination::Inet(receiver.local_addr().expect("address"));
            for bytes in [&b"ab"[..], b"", b"c"] {
                send_to(sender.as_raw_fd(), bytes, &to).expect("send");
            }
            for bytes in [&b"ab"[..], b"", b"c"] {
                let (received, from) = receive(&receiver).expect("receive");
                assert_eq!(received, bytes);
                assert_eq!(from.address(), Address::Inet(sender.local_addr().expect("address")));
            }
            receiver.set_nonblocking(true).expect("nonblocking");
            assert_eq!(receive(&receiver).err().expect("none").kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn blocking_socket_is_not_waited_for() {
        let (receiver, sender) = UnixDatagram::pair().expect("socketpair");
        let error = receive(&receiver).err().expect("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(sender);
    }

    #[test]
    fn long_datagram_is_cut() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        receiver.send_to(&[1; 100], receiver.local_addr().expect("address")).expect("send");
        assert_eq!(receive(&receiver).expect("receive").0, [1; 64]);
    }

    #[test]
    fn unix_names_come_as_they_were_bound() {
        let name = format!("tonnage-{}", std::process::id());
        let receiver = UnixDatagram::unbound().expect("socket");
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).expect("short");
        net::bind(&receiver, &address).expect("bind");
        let to = Destination::abstract_name(name.as_bytes()).expect("short");
        let unbound = UnixDatagram::unbound().expect("socket");
        send_to(unbound.as_raw_fd(), b"a", &to).expect("send");
        assert_eq!(receive(&receiver).expect("receive").1.address(), Address::None);
        send_to(receiver.as_raw_fd(), b"a", &to).expect("send");
        let (_, sender) = receive(&receiver).expect("receive");
        assert_eq!(sender.address(), Address::Abstract(format!("\0{name}").as_bytes()));
    }

    #[test]
    fn path_may_fill_its_place() {
        let folder = std::env::temp_dir().join(format!("tonnage-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let folder_len = folder.as_os_str().len();
        for len in [SUN_PATH_LEN - 1, SUN_PATH_LEN] {
            let path = folder.join("x".repeat(len - folder_len - 1));
            let bytes = path.as_os_str().as_encoded_bytes();
            let bound = UnixDatagram::unbound().expect("socket");
            net::bind(&bound, &SocketAddrUnix::new(bytes).expect("it fits")).expect("bind");
            let (ours, peer) = (UnixDatagram::unbound().expect("socket"), bound);
            let ours_path = folder.join("ours");
            net::bind(&ours, &SocketAddrUnix::new(&ours_path).expect("short")).expect("bind");
            let to = Destination::path(ours_path.as_os_str().as_encoded_bytes()).expect("short");
            send_to(peer.as_raw_fd(), b"a", &to).expect("send");
            assert_eq!(receive(&ours).expect("receive").1.address(), Address::Path(bytes));
            assert_eq!(Destination::path(bytes).is_some(), len < SUN_PATH_LEN);
            std::fs::remove_file(&ours_path).expect("remove");
            std::fs::remove_file(&path).expect("remove");
        }
        std::fs::remove_dir(&folder).expect("remove");
    }

    #[test]
    fn drops_are_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        assert_eq!(dropped(receiver.as_raw_fd()).expect("count"), 0);
        net::sockopt::set_socket_recv_buffer_size(&receiver, 4096).expect("set");
        let to = receiver.local_addr().expect("address");
        for _ in 0..100 {
            receiver.send_to(&[0; 1000], to).expect("send");
        }
        assert!(dropped(receiver.as_raw_fd()).expect("count") > 50);
    }
}
