//! The system calls of a stream transport on its socket, none of which waits, even if the socket is blocking.
//!
//! Thin: one call each, tried again after a signal. "Not ready" is an error of
//! kind `WouldBlock`, as everywhere in `std`. Python hands out descriptors as
//! numbers, so none of these trusts that the number is open.

#![allow(unsafe_code, reason = "a descriptor that Python owns is borrowed for one call")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags};

use super::Fd;

pub(super) const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The most slices that Linux takes in one call (`UIO_MAXIOV`).
pub const SLICES_MAX: usize = 1024;

/// Slices of so few bytes leave as one. Measured: an answer of head and body, of 1.1 KiB, costs 0.15 µs less.
const COPIED_MAX: usize = 4096;

/// Reads what is there, up to the length of `buffer`. 0 is the end of the stream.
#[inline]
pub fn recv(fd: Fd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| Ok(net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?.1))?)
}

/// As [`recv`], into memory that nobody wrote before. Returns the part that was read.
#[inline]
pub fn recv_uninit(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]> {
    let fd = borrow(fd)?;
    let count = retry_on_intr(|| Ok(net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT)?.1))?;
    // SAFETY: the kernel wrote the first `count` bytes.
    Ok(unsafe { buffer[..count].assume_init_mut() })
}

/// Writes as much of `bytes` as the socket takes. A peer that is gone is an
/// error, and no signal.
#[inline]
pub fn send(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| net::send(fd, bytes, SEND_FLAGS))?)
}

/// As [`send`], from many slices; those beyond [`SLICES_MAX`] are left for the next call.
#[inline]
pub fn send_vectored(fd: Fd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if copied_len(slices).is_some() {
        return send_copied(fd, slices);
    }
    let fd = borrow(fd)?;
    let slices = &slices[..slices.len().min(SLICES_MAX)];
    let mut control = SendAncillaryBuffer::default();
    Ok(retry_on_intr(|| net::sendmsg(fd, slices, &mut control, SEND_FLAGS))?)
}

/// How many bytes are cheaper to copy into one piece than to list for the kernel.
pub(super) fn copied_len(slices: &[IoSlice<'_>]) -> Option<usize> {
    let len = slices.iter().map(|slice| slice.len()).sum();
    (slices.len() > 1 && len <= COPIED_MAX).then_some(len)
}

/// Sends at most [`COPIED_MAX`] bytes in one piece.
fn send_copied(fd: Fd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut copy = [MaybeUninit::uninit(); COPIED_MAX];
    let mut len = 0;
    for slice in slices {
        copy[len..][..slice.len()].write_copy_of_slice(slice);
        len += slice.len();
    }
    // SAFETY: the first `len` bytes were written.
    send(fd, unsafe { copy[..len].assume_init_ref() })
}

/// Does the kernel lack memory for a write? That passes, so the write is to be tried again.
#[must_use]
pub fn is_out_of_memory(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOBUFS | Errno::NOMEM))
}

/// What a call on a descriptor that is closed comes to.
#[must_use]
pub fn closed() -> io::Error {
    Errno::BADF.into()
}

pub(super) fn borrow(fd: Fd) -> Result<BorrowedFd<'static>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: `fd` is not -1. Whether it is open, the kernel checks; each caller uses it for one call only.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().expect("socketpair");
        a.set_nonblocking(true).expect("nonblocking");
        b.set_nonblocking(true).expect("nonblocking");
        (a, b)
    }

    #[test]
    fn slices_arrive_as_one_stream() {
        let (a, b) = pair();
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(send_vectored(a.as_raw_fd(), &slices).expect("send"), 5);
        assert_eq!(send(a.as_raw_fd(), b"f").expect("send"), 1);
        let mut buffer = [MaybeUninit::uninit(); 4];
        assert_eq!(recv_uninit(b.as_raw_fd(), &mut buffer).expect("recv"), b"abcd");
        let mut buffer = [0; 16];
        assert_eq!(recv(b.as_raw_fd(), &mut buffer).expect("recv"), 2);
        assert_eq!(&buffer[..2], b"ef");
    }

    #[test]
    fn many_bytes_and_few_arrive_alike() {
        let (a, b) = pair();
        let (head, large) = ([b'h'; 100], [b'l'; COPIED_MAX]);
        for body in [&large[..COPIED_MAX - 100], &large] {
            let slices = [IoSlice::new(&head), IoSlice::new(body)];
            assert_eq!(send_vectored(a.as_raw_fd(), &slices).expect("send"), 100 + body.len());
            let mut buffer = [0; 2 * COPIED_MAX];
            let count = recv(b.as_raw_fd(), &mut buffer).expect("recv");
            assert_eq!(buffer[..count], [&head, body].concat());
        }
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_cut() {
        let (a, _b) = pair();
        let slices = vec![IoSlice::new(b"12345"); SLICES_MAX + 10];
        assert_eq!(send_vectored(a.as_raw_fd(), &slices).expect("send"), 5 * SLICES_MAX);
    }

    #[test]
    fn not_ready_is_would_block() {
        let (a, _b) = pair();
        let error = recv(a.as_raw_fd(), &mut [0; 8]).expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn peer_that_is_gone_is_an_error() {
        let (a, b) = pair();
        drop(b);
        assert_eq!(recv(a.as_raw_fd(), &mut [0; 8]).expect("end of stream"), 0);
        let error = send(a.as_raw_fd(), b"x").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn negative_descriptor_is_refused() {
        for fd in [-1, Fd::MIN] {
            let error = send(fd, b"x").expect_err("no descriptor");
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
    }
}
