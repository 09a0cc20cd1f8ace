//! Ring: many sends by one system call, through Linux's io_uring.
//!
//! It is a way to make calls, and nothing to wait by. Each send is told not to wait, so that it has ended, one way
//! or the other, when the call returns: nothing is under way in between, no memory is lent for longer, and a send
//! that was made cannot be lost. Where the kernel or a sandbox refuses rings, no send is made, and the caller makes
//! a call for each.

#![allow(unsafe_code, reason = "the kernel is handed addresses, for one call")]

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;

use super::Fd;
use super::socket::{SEND_FLAGS, SLICES_MAX};

/// So many sends go by one call.
pub const SENDS_MAX: usize = 64;

/// One send, as `socket::send_vectored`.
pub struct Send<'a> {
    pub fd: Fd,
    pub slices: &'a [IoSlice<'a>],
    /// What came of it; `None`: it was not made.
    pub outcome: Option<io::Result<usize>>,
}

/// A ring of the kernel, opened when it is first needed: a descriptor, which does not survive `exec`, and a few
/// pages. A forked child must drop it without a send.
pub enum Ring {
    Unopened,
    Open(Box<IoUring>),
    Refused,
}

impl Ring {
    /// May a send come about?
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Hands out the ring to be dropped. Another one is opened when it is needed, unless rings are refused.
    #[must_use]
    pub fn close(&mut self) -> Self {
        let next = if self.is_refused() { Self::Refused } else { Self::Unopened };
        mem::replace(self, next)
    }

    /// Makes the sends, in their order.
    pub fn send(&mut self, sends: &mut [Send<'_>]) {
        for sends in sends.chunks_mut(SENDS_MAX) {
            let Some(ring) = self.open() else { return };
            // What was queued for the kernel, and not taken, goes with the ring.
            if send(ring, sends).is_err() {
                *self = Self::Refused;
            }
        }
    }

    fn open(&mut self) -> Option<&mut IoUring> {
        if let Self::Unopened = self {
            let entries = u32::try_from(SENDS_MAX).ok()?;
            *self = match IoUring::builder().setup_submit_all().build(entries) {
                Ok(ring) => Self::Open(Box::new(ring)),
                Err(error) if passes(&error) => Self::Unopened,
                Err(_) => Self::Refused,
            };
        }
        match self {
            Self::Open(ring) => Some(ring),
            Self::Unopened | Self::Refused => None,
        }
    }
}

/// Is it worth another try, later?
fn passes(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Makes up to [`SENDS_MAX`] sends.
fn send(ring: &mut IoUring, sends: &mut [Send<'_>]) -> io::Result<()> {
    let mut headers = [const { MaybeUninit::uninit() }; SENDS_MAX];
    let mut queue = ring.submission();
    for ((send, header), index) in sends.iter().zip(&mut headers).zip(0..) {
        let entry = entry(send, header).user_data(index);
        // SAFETY: what it points to outlives this function. Either the send ends in it, or the ring is dropped
        // before the kernel is shown the entry.
        unsafe { queue.push(&entry) }.map_err(|_| io::Error::from(Errno::BUSY))?;
    }
    drop(queue);
    let mut left = sends.len();
    while left > 0 {
        let submitted = ring.submit_and_wait(left);
        for completion in ring.completion() {
            let index = usize::try_from(completion.user_data()).ok();
            let Some(send) = index.and_then(|index| sends.get_mut(index)) else { continue };
            send.outcome = Some(outcome(completion.result()));
            left -= 1;
        }
        match submitted {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn entry(send: &Send<'_>, header: &mut MaybeUninit<libc::msghdr>) -> squeue::Entry {
    let fd = types::Fd(send.fd);
    if let [slice] = send.slices {
        let len = u32::try_from(slice.len()).unwrap_or(u32::MAX);
        return opcode::Send::new(fd, slice.as_ptr(), len).flags(SEND_FLAGS.bits().cast_signed()).build();
    }
    let slices = &send.slices[..send.slices.len().min(SLICES_MAX)];
    // SAFETY: zeros are a header without parts.
    let header = header.write(unsafe { mem::zeroed() });
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len();
    opcode::SendMsg::new(fd, header).flags(SEND_FLAGS.bits()).build()
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A ring, unless the kernel or a sandbox refuses it.
    fn ring() -> Option<Ring> {
        let mut ring = Ring::Unopened;
        if ring.open().is_none() {
            eprintln!("skipped: there is no io_uring here");
            return None;
        }
        Some(ring)
    }

    fn pairs(count: usize) -> (Vec<UnixStream>, Vec<UnixStream>) {
        (0..count).map(|_| UnixStream::pair().expect("socketpair")).unzip()
    }

    #[test]
    fn each_send_arrives_where_it_belongs() {
        let Some(mut ring) = ring() else { return };
        let count = 2 * SENDS_MAX + 1;
        let (ours, theirs) = pairs(count);
        let texts: Vec<_> = (0..count).map(|number| format!("{number:4}")).collect();
        let slices: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| match number % 2 {
                0 => vec![IoSlice::new(text.as_bytes())],
                _ => vec![IoSlice::new(&text.as_bytes()[..1]), IoSlice::new(&text.as_bytes()[1..])],
            })
            .collect();
        let mut sends: Vec<_> = ours
            .iter()
            .zip(&slices)
            .map(|(socket, slices)| Send { fd: socket.as_raw_fd(), slices, outcome: None })
            .collect();
        ring.send(&mut sends);
        for ((send, mut peer), text) in sends.iter().zip(theirs).zip(&texts) {
            assert!(matches!(send.outcome, Some(Ok(4))));
            let mut received = [0; 4];
            peer.read_exact(&mut received).expect("it was sent");
            assert_eq!(received, text.as_bytes());
        }
    }

    #[test]
    fn failures_are_told_apart_from_what_was_sent() {
        let Some(mut ring) = ring() else { return };
        let (ours, mut theirs) = pairs(3);
        drop(theirs.remove(1));
        let large = vec![0; 16 << 20];
        let (small, large) = ([IoSlice::new(b"x")], [IoSlice::new(&large)]);
        let mut sends = [
            Send { fd: ours[0].as_raw_fd(), slices: &small, outcome: None },
            Send { fd: ours[1].as_raw_fd(), slices: &small, outcome: None },
            Send { fd: -1, slices: &small, outcome: None },
            Send { fd: ours[2].as_raw_fd(), slices: &large, outcome: None },
            Send { fd: ours[2].as_raw_fd(), slices: &small, outcome: None },
        ];
        ring.send(&mut sends);
        let outcomes: Vec<_> =
            sends.iter().map(|send| send.outcome.as_ref().expect("it was made").as_ref()).collect();
        assert!(matches!(outcomes[0], Ok(1)));
        assert!(matches!(outcomes[1], Err(error) if error.kind() == io::ErrorKind::BrokenPipe));
        assert!(matches!(outcomes[2], Err(error) if error.raw_os_error() == Some(libc::EBADF)));
        assert!(matches!(outcomes[3], Ok(count) if *count > 0 && *count < 16 << 20));
        assert!(matches!(outcomes[4], Err(error) if error.kind() == io::ErrorKind::WouldBlock));
    }

    #[test]
    fn a_blocking_socket_is_not_waited_for() {
        let Some(mut ring) = ring() else { return };
        let (ours, _theirs) = UnixStream::pair().expect("socketpair");
        let large = vec![0; 16 << 20];
        for _ in 0..3 {
            let slices = [IoSlice::new(&large)];
            let mut sends = [Send { fd: ours.as_raw_fd(), slices: &slices, outcome: None }];
            ring.send(&mut sends);
            assert!(sends[0].outcome.is_some());
        }
    }

    #[test]
    fn a_ring_that_is_refused_makes_no_send() {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        theirs.set_nonblocking(true).expect("nonblocking");
        let slices = [IoSlice::new(b"x")];
        let mut sends = [Send { fd: ours.as_raw_fd(), slices: &slices, outcome: None }];
        Ring::Refused.send(&mut sends);
        assert!(sends[0].outcome.is_none());
        let error = (&theirs).read(&mut [0]).expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
