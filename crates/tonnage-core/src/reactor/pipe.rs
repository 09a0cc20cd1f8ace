//! The system calls of a transport on a pipe, or on what passes for one: FIFOs, terminals, sockets.
//!
//! As thin as those of [`super::socket`], whose calls a descriptor refuses that is no socket.

#![allow(unsafe_code, reason = "a descriptor that Python owns is borrowed for one call")]

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use rustix::fs::{self, FileType};
use rustix::io::{self as calls, Errno, ReadWriteFlags, retry_on_intr};

use super::Fd;
use super::socket::{SLICES_MAX, borrow};

/// The error of a read from a terminal whose other end is gone.
pub const GONE: i32 = libc::EIO;

/// What a descriptor is, as far as it can be a pipe's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PipeKind {
    Fifo,
    Socket,
    CharacterDevice,
}

/// What `fd` is; `None`: nothing that can be waited for, such as a file.
pub fn kind(fd: Fd) -> io::Result<Option<PipeKind>> {
    let status = fs::fstat(borrow(fd)?)?;
    Ok(match FileType::from_raw_mode(status.st_mode) {
        FileType::Fifo => Some(PipeKind::Fifo),
        FileType::Socket => Some(PipeKind::Socket),
        FileType::CharacterDevice => Some(PipeKind::CharacterDevice),
        _ => None,
    })
}

/// Makes reads and writes return at once. All who share the open file see it.
pub fn set_nonblocking(fd: Fd) -> io::Result<()> {
    Ok(calls::ioctl_fionbio(borrow(fd)?, true)?)
}

/// Reads what is there into memory that nobody wrote before. Returns the part that was read; none of it
/// is the end of the stream.
#[inline]
pub fn read_uninit(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]> {
    let fd = borrow(fd)?;
    let count = retry_on_intr(|| Ok(calls::read(fd, &mut *buffer)?.0.len()))?;
    // SAFETY: the kernel wrote the first `count` bytes.
    Ok(unsafe { buffer[..count].assume_init_mut() })
}

/// Writes as much of `bytes` as the pipe takes. A reader that is gone is an error, and a signal unless
/// the program ignores it, as Python does.
#[inline]
pub fn write(fd: Fd, bytes: &[u8]) -> io::Result<usize> {
    write_vectored(fd, &[IoSlice::new(bytes)])
}

/// As [`write`], from many slices; those beyond [`SLICES_MAX`] are left for the next call.
///
/// Whoever shares the open file may have made it blocking: a pipe is not waited for even so.
#[inline]
pub fn write_vectored(fd: Fd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    let slices = &slices[..slices.len().min(SLICES_MAX)];
    match retry_on_intr(|| calls::pwritev2(fd, slices, HERE, ReadWriteFlags::NOWAIT)) {
        // A terminal, or an old kernel.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::SPIPE) => {
            Ok(retry_on_intr(|| calls::writev(fd, slices))?)
        }
        outcome => Ok(outcome?),
    }
}

/// The offset that stands for where the file is: a pipe knows no other.
const HERE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn slices_arrive_as_one_stream() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(write_vectored(writer.as_raw_fd(), &slices).expect("write"), 5);
        assert_eq!(write(writer.as_raw_fd(), b"f").expect("write"), 1);
        let mut buffer = [MaybeUninit::uninit(); 16];
        assert_eq!(read_uninit(reader.as_raw_fd(), &mut buffer).expect("read"), b"abcdef");
        drop(writer);
        assert_eq!(read_uninit(reader.as_raw_fd(), &mut buffer).expect("end"), b"");
    }

    #[test]
    fn empty_pipe_is_would_block_when_it_does_not_block() {
        let (reader, _writer) = rustix::pipe::pipe().expect("pipe");
        set_nonblocking(reader.as_raw_fd()).expect("nonblocking");
        let mut buffer = [MaybeUninit::uninit(); 16];
        let error = read_uninit(reader.as_raw_fd(), &mut buffer).expect_err("nothing was written");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn full_pipe_that_blocks_is_not_waited_for() {
        let (_reader, writer) = rustix::pipe::pipe().expect("pipe");
        let bytes = vec![0; 1 << 20];
        assert!(write(writer.as_raw_fd(), &bytes).expect("there is room for some") < bytes.len());
        let error = write(writer.as_raw_fd(), &bytes).expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn descriptors_are_told_apart() {
        let (reader, _writer) = rustix::pipe::pipe().expect("pipe");
        let (socket, _peer) = UnixStream::pair().expect("socketpair");
        let device = File::open("/dev/null").expect("open");
        let folder = File::open("/").expect("open");
        assert_eq!(kind(reader.as_raw_fd()).expect("kind"), Some(PipeKind::Fifo));
        assert_eq!(kind(socket.as_raw_fd()).expect("kind"), Some(PipeKind::Socket));
        assert_eq!(kind(device.as_raw_fd()).expect("kind"), Some(PipeKind::CharacterDevice));
        assert_eq!(kind(folder.as_raw_fd()).expect("kind"), None);
        assert_eq!(kind(-1).expect_err("no descriptor").raw_os_error(), Some(libc::EBADF));
    }
}
