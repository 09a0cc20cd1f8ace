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
use super::socket::{SEND_FLAGS, SLICES_MAX, copied_len};

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
pub struct Ring {
    state: State,
    /// How often no ring is asked for after the next lack of something.
    patience: u32,
}

enum State {
    Unopened,
    Open(Box<IoUring>),
    /// The kernel lacked something; so often it is not asked.
    Lacking(u32),
    Refused,
}

/// A ring that cannot be had costs the kernel 30 µs each time that it is asked for.
const PATIENCE_MAX: u32 = 1024;

impl Ring {
    #[must_use]
    pub const fn unopened() -> Self {
        Self { state: State::Unopened, patience: 1 }
    }

    #[must_use]
    pub const fn refused() -> Self {
        Self { state: State::Refused, patience: 1 }
    }

    /// May a send come about?
    #[inline]
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    /// Hands out the ring to be dropped. Another one is opened when it is needed, unless rings are refused.
    #[must_use]
    pub fn close(&mut self) -> Self {
        mem::replace(self, if self.is_refused() { Self::refused() } else { Self::unopened() })
    }

    /// Makes the sends, in their order.
    pub fn send(&mut self, sends: &mut [Send<'_>]) {
        for sends in sends.chunks_mut(SENDS_MAX) {
            let Some(ring) = self.open() else { return };
            if let Err(error) = send(ring, sends) {
                self.fail(&error);
            }
        }
    }

    fn open(&mut self) -> Option<&mut IoUring> {
        match &mut self.state {
            State::Lacking(turns @ 1..) => *turns -= 1,
            State::Unopened | State::Lacking(0) => {
                let entries = u32::try_from(SENDS_MAX).ok()?;
                match IoUring::builder().setup_submit_all().build(entries) {
                    Ok(ring) => self.state = State::Open(Box::new(ring)),
                    Err(error) => self.fail(&error),
                }
            }
            State::Open(_) | State::Refused => {}
        }
        if let State::Open(ring) = &mut self.state { Some(ring) } else { None }
    }

    /// What was queued for the kernel, and not taken, goes with the ring.
    #[cold]
    fn fail(&mut self, error: &io::Error) {
        let next = match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => {
                let turns = self.patience;
                self.patience = (2 * turns).min(PATIENCE_MAX);
                State::Lacking(turns)
            }
            _ => State::Refused,
        };
        let failed = mem::replace(&mut self.state, next);
        if let (State::Open(ring), Some(Errno::BADF | Errno::OPNOTSUPP)) =
            (failed, Errno::from_io_error(error))
        {
            // Somebody has closed the descriptor, and its number may be another's.
            Box::leak(ring);
        }
    }
}

/// Makes up to [`SENDS_MAX`] sends.
fn send(ring: &mut IoUring, sends: &mut [Send<'_>]) -> io::Result<()> {
    let mut headers = [const { MaybeUninit::uninit() }; SENDS_MAX];
    let mut copies = Vec::with_capacity(sends.iter().filter_map(|send| copied_len(send.slices)).sum());
    let mut queue = ring.submission();
    for ((send, header), index) in sends.iter().zip(&mut headers).zip(0..) {
        let entry = match copied_len(send.slices) {
            Some(_) => of_copy(send, &mut copies),
            None => entry(send, header),
        };
        let entry = entry.user_data(index);
        // SAFETY: what it points to outlives this function. Either the send ends in it, or the ring is dropped
        // before the kernel is shown the entry.
        unsafe { queue.push(&entry) }.map_err(|_| io::Error::from(Errno::BUSY))?;
    }
    drop(queue);
    let mut left = sends.len();
    let mut refusal = None;
    // All have ended by then, so that there is nothing to wait for.
    let mut submitted = ring.submit();
    loop {
        let before = left;
        for completion in ring.completion() {
            let index = usize::try_from(completion.user_data()).ok();
            let send = index.and_then(|index| sends.get_mut(index)).ok_or(Errno::INVAL)?;
            match outcome(completion.result()) {
                Err(error) if is_of_ring(&error) => refusal = Some(error),
                outcome => send.outcome = Some(outcome),
            }
            left -= 1;
        }
        match submitted {
            _ if left == 0 => return refusal.map_or(Ok(()), Err),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(0) if left == before => return Err(Errno::INVAL.into()),
            // Interrupted, or the kernel took a part only.
            _ => submitted = ring.submit_and_wait(1),
        }
    }
}

/// Is it what a kernel says that allows no such send by a ring, and not what the socket says?
fn is_of_ring(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM | Errno::CANCELED | Errno::INTR)
    )
}

/// Sends the copy, for which there is room in `copies`: it does not move.
fn of_copy(send: &Send<'_>, copies: &mut Vec<u8>) -> squeue::Entry {
    let start = copies.len();
    debug_assert!(copies.capacity() - start >= copied_len(send.slices).unwrap_or(0), "it would move");
    for slice in send.slices {
        copies.extend_from_slice(slice);
    }
    of_slice(send.fd, &copies[start..])
}

fn of_slice(fd: Fd, slice: &[u8]) -> squeue::Entry {
    let len = u32::try_from(slice.len()).unwrap_or(u32::MAX);
    let flags = SEND_FLAGS.bits().cast_signed();
    opcode::Send::new(types::Fd(fd), slice.as_ptr(), len).flags(flags).build()
}

fn entry(send: &Send<'_>, header: &mut MaybeUninit<libc::msghdr>) -> squeue::Entry {
    if let [slice] = send.slices {
        return of_slice(send.fd, slice);
    }
    let slices = &send.slices[..send.slices.len().min(SLICES_MAX)];
    // SAFETY: zeros are a header without parts.
    let header = header.write(unsafe { mem::zeroed() });
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len();
    opcode::SendMsg::new(types::Fd(send.fd), header).flags(SEND_FLAGS.bits()).build()
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
        let mut ring = Ring::unopened();
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
        for slices in [&[IoSlice::new(&large)][..], &[IoSlice::new(&large), IoSlice::new(b"x")]] {
            let mut sends = [0; 3].map(|_| Send { fd: ours.as_raw_fd(), slices, outcome: None });
            ring.send(&mut sends);
            let last = sends[2].outcome.as_ref().expect("it was made").as_ref();
            assert!(matches!(last, Err(error) if error.kind() == io::ErrorKind::WouldBlock));
        }
    }

    #[test]
    fn a_part_of_many_slices_is_taken() {
        let Some(mut ring) = ring() else { return };
        let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
        let large = vec![7; 16 << 20];
        let slices = [IoSlice::new(b"head"), IoSlice::new(&large)];
        let mut sends = [Send { fd: ours.as_raw_fd(), slices: &slices, outcome: None }];
        ring.send(&mut sends);
        let Some(Ok(taken)) = sends[0].outcome else { panic!("it was taken") };
        assert!(taken > 4 && taken < large.len());
        let mut received = vec![0; taken];
        theirs.read_exact(&mut received).expect("it was sent");
        assert_eq!(received[..4], *b"head");
        assert!(received[4..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_lack_is_waited_for_longer_and_longer() {
        let Some(mut ring) = ring() else { return };
        let lack = io::Error::from(Errno::MFILE);
        for turns in [1, 2, 4] {
            ring.fail(&lack);
            for _ in 0..turns {
                assert!(ring.open().is_none());
            }
            assert!(ring.open().is_some());
        }
        for _ in 0..20 {
            ring.fail(&lack);
        }
        assert_eq!(ring.patience, PATIENCE_MAX);
        ring.fail(&io::Error::from(Errno::PERM));
        assert!(ring.is_refused() && ring.close().is_refused() && ring.is_refused());
    }

    #[test]
    fn a_ring_that_is_refused_makes_no_send() {
        let (ours, theirs) = UnixStream::pair().expect("socketpair");
        theirs.set_nonblocking(true).expect("nonblocking");
        let slices = [IoSlice::new(b"x")];
        let mut sends = [Send { fd: ours.as_raw_fd(), slices: &slices, outcome: None }];
        Ring::refused().send(&mut sends);
        assert!(sends[0].outcome.is_none());
        let error = (&theirs).read(&mut [0]).expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
