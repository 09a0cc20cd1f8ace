//! Linux's epoll, level-triggered but where an interest says otherwise.
//!
//! Waits have nanosecond timeouts by `epoll_pwait2` (Linux 5.11); a wait that is to
//! end at once, or not before there is something, is an `epoll_wait`, which takes
//! 15 to 45 ns less. Where the kernel or a sandbox lacks `epoll_pwait2`, the timeout is
//! rounded up to milliseconds, so that a timer is late, and never early.
//!
//! The 64 bits that the kernel keeps for us hold the descriptor and the
//! interest, so that an event can be told without a look into any table.

#![allow(
    unsafe_code,
    reason = "raw descriptors are borrowed, and rustix has no epoll_wait beside epoll_pwait2"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::{Backend, Event, Fd, Interest};
use crate::clock::NS_PER_S;

/// Events of one wait: few at first, and up to so many when waits fill the buffer.
const EVENTS_MIN: usize = 64;
const EVENTS_MAX: usize = 1024;
/// The data of the waker's descriptor. No other event has an interest bit this high.
const WAKER: u64 = u64::MAX;

pub(super) struct Epoll {
    queue: OwnedFd,
    /// Whether `epoll_pwait2` was refused once.
    lacks_pwait2: AtomicBool,
}

/// What the kernel reported. rustix's event can also hold a pointer, and is neither `Send` nor `Sync` therefore.
pub(super) struct Events(Vec<epoll::Event>);

// SAFETY: this file puts integers into events only, never pointers.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Backend for Epoll {
    type Events = Events;

    fn open() -> io::Result<Self> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { queue, lacks_pwait2: AtomicBool::new(false) })
    }

    fn new_events() -> Self::Events {
        Events(Vec::with_capacity(EVENTS_MIN))
    }

    fn register_waker(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.queue, fd, EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)?)
    }

    fn change(&self, fd: Fd, old: Interest, new: Interest) -> io::Result<()> {
        if fd < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: `fd` is not -1. Whether it is open, the kernel checks; it is used for this call only.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        if new.is_none() {
            return Ok(epoll::delete(&self.queue, fd)?);
        }
        let changed = if old.is_none() { self.add(fd, new) } else { self.modify(fd, new) };
        // Our memory is by number. If the descriptor was closed and its number
        // given to another, the kernel knows better.
        match changed {
            Err(Errno::EXIST) => Ok(self.modify(fd, new)?),
            Err(Errno::NOENT) => Ok(self.add(fd, new)?),
            outcome => Ok(outcome?),
        }
    }

    fn wait(&self, Events(events): &mut Self::Events, timeout_ns: Option<u64>) -> io::Result<usize> {
        if events.len() == events.capacity() && events.len() < EVENTS_MAX {
            // The vector is full, so this doubles it.
            events.reserve_exact(events.len());
        }
        events.clear();
        self.wait_for_kernel(events, timeout_ns)?;
        // The waker's event has told what it had to. Order matters: descriptors
        // are served as the kernel reports them.
        if let Some(index) = events.iter().position(|event| { event.data }.u64() == WAKER) {
            events.remove(index);
        }
        Ok(events.len())
    }

    #[inline]
    fn event(Events(events): &Self::Events, index: usize) -> Event {
        let epoll::Event { flags, data, .. } = events[index];
        let data = data.u64();
        let interest = Interest::from_bits((data >> 32) as u8);
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        Event {
            fd: data as u32 as Fd,
            readable: interest.contains(Interest::READ) && (failed || flags.contains(EventFlags::IN)),
            writable: interest.contains(Interest::WRITE) && (failed || flags.contains(EventFlags::OUT)),
            failed,
            once: interest.contains(Interest::ONCE),
        }
    }
}

impl Epoll {
    fn add(&self, fd: BorrowedFd<'_>, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.queue, fd, data_of(fd, interest), flags_of(interest))
    }

    fn modify(&self, fd: BorrowedFd<'_>, interest: Interest) -> Result<(), Errno> {
        epoll::modify(&self.queue, fd, data_of(fd, interest), flags_of(interest))
    }

    fn wait_for_kernel(&self, events: &mut Vec<epoll::Event>, timeout_ns: Option<u64>) -> io::Result<()> {
        let timeout = match timeout_ns {
            Some(timeout_ns @ 1..) if !self.lacks_pwait2.load(Ordering::Relaxed) => to_timespec(timeout_ns),
            _ => return self.wait_for_ms(events, timeout_ns),
        };
        match epoll::wait(&self.queue, spare_capacity(events), Some(&timeout)) {
            Ok(_) => Ok(()),
            // ENOSYS is an old kernel, EPERM a sandbox that never heard of the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                self.lacks_pwait2.store(true, Ordering::Relaxed);
                self.wait_for_ms(events, timeout_ns)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn wait_for_ms(&self, events: &mut Vec<epoll::Event>, timeout_ns: Option<u64>) -> io::Result<()> {
        let room = events.spare_capacity_mut();
        let room_len = i32::try_from(room.len()).unwrap_or(i32::MAX);
        let room_start = room.as_mut_ptr().cast::<libc::epoll_event>();
        let timeout_ms = timeout_ns.map_or(-1, to_ms_rounded_up);
        // SAFETY: both types are the kernel's `struct epoll_event`, and `room_len` of them fit.
        let count = unsafe { libc::epoll_wait(self.queue.as_raw_fd(), room_start, room_len, timeout_ms) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the vector was empty, and the kernel wrote `count` events, not more than fit.
        unsafe { events.set_len(count) };
        Ok(())
    }
}

fn data_of(fd: BorrowedFd<'_>, interest: Interest) -> EventData {
    EventData::new_u64(u64::from(interest.bits()) << 32 | u64::from(fd.as_raw_fd() as u32))
}

fn flags_of(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.contains(Interest::READ));
    flags.set(EventFlags::OUT, interest.contains(Interest::WRITE));
    flags.set(EventFlags::ONESHOT, interest.contains(Interest::ONCE));
    flags
}

fn to_timespec(timeout_ns: u64) -> Timespec {
    Timespec { tv_sec: (timeout_ns / NS_PER_S) as _, tv_nsec: (timeout_ns % NS_PER_S) as _ }
}

/// 24 days are the longest wait; the caller looks at its timers again then.
fn to_ms_rounded_up(timeout_ns: u64) -> i32 {
    i32::try_from(timeout_ns.div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up() {
        assert_eq!(to_ms_rounded_up(0), 0);
        assert_eq!(to_ms_rounded_up(1), 1);
        assert_eq!(to_ms_rounded_up(1_000_000), 1);
        assert_eq!(to_ms_rounded_up(1_000_001), 2);
        assert_eq!(to_ms_rounded_up(u64::MAX), i32::MAX);
    }

    #[test]
    fn event_types_of_both_crates_are_one() {
        assert_eq!(size_of::<epoll::Event>(), size_of::<libc::epoll_event>());
        assert_eq!(align_of::<epoll::Event>(), align_of::<libc::epoll_event>());
    }

    #[test]
    fn old_kernel_gets_the_same_answers() {
        let queue = Epoll::open().expect("open");
        queue.lacks_pwait2.store(true, Ordering::Relaxed);
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        queue.change(reader.as_raw_fd(), Interest::NONE, Interest::READ).expect("register");
        let mut events = Epoll::new_events();
        assert_eq!(queue.wait(&mut events, Some(1)).expect("wait"), 0);
        rustix::io::write(&writer, b"x").expect("write");
        assert_eq!(queue.wait(&mut events, None).expect("wait"), 1);
        let event = Epoll::event(&events, 0);
        assert_eq!((event.fd, event.readable, event.writable), (reader.as_raw_fd(), true, false));
    }

    #[test]
    fn forgotten_registration_is_corrected() {
        let queue = Epoll::open().expect("open");
        let (reader, _writer) = rustix::pipe::pipe().expect("pipe");
        let fd = reader.as_raw_fd();
        // We think that it is registered, and the kernel does not.
        queue.change(fd, Interest::WRITE, Interest::READ).expect("register");
        // And the other way round.
        queue.change(fd, Interest::NONE, Interest::READ).expect("register");
    }
}
