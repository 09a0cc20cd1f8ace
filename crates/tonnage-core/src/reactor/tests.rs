//! Both halves of a reactor together, on real descriptors.

#![allow(clippy::disallowed_methods, reason = "waking from another thread needs one")]
#![allow(unsafe_code, reason = "std has no signals")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Event, Fd, Interest, Reactor};
use crate::clock::now_ns;

const MS: u64 = 1_000_000;
/// Only a wake-up that never came waits this long.
const LONG_NS: u64 = 10_000 * MS;

fn reactor() -> Reactor {
    Reactor::new().expect("reactor")
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().expect("pipe")
}

fn ready(fd: Fd, readable: bool, writable: bool) -> Event {
    Event { fd, readable, writable, failed: false, edge: false }
}

#[test]
fn event_is_reported_as_long_as_it_is_ready() {
    let Reactor { mut poller, mut registry } = reactor();
    let (reader, writer) = pipe();
    registry.set(reader.as_raw_fd(), Interest::READ).expect("set");
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
    rustix::io::write(&writer, b"x").expect("write");
    for _ in 0..3 {
        assert_eq!(poller.wait(None).expect("wait"), 1);
        assert_eq!(poller.event(0), ready(reader.as_raw_fd(), true, false));
    }
    rustix::io::read(&reader, &mut [0; 8]).expect("read");
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
}

#[test]
fn edge_is_reported_once() {
    let Reactor { mut poller, mut registry } = reactor();
    let (reader, writer) = pipe();
    let fd = reader.as_raw_fd();
    rustix::io::write(&writer, b"x").expect("write");
    registry.set(fd, Interest::READ | Interest::EDGE).expect("set");
    for _ in 0..2 {
        assert_eq!(poller.wait(None).expect("wait"), 1);
        assert_eq!(poller.event(0), Event { edge: true, ..ready(fd, true, false) });
        assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
        rustix::io::write(&writer, b"x").expect("write");
    }
    registry.set(fd, Interest::READ).expect("set");
    assert_eq!(poller.wait(None).expect("wait"), 1);
    assert_eq!(poller.event(0), ready(fd, true, false));
}

#[test]
fn number_that_was_given_to_another_is_waited_for_when_renewed() {
    let Reactor { mut poller, mut registry } = reactor();
    let (reader, _writer) = pipe();
    let (another, another_writer) = pipe();
    let fd = reader.as_raw_fd();
    let interest = Interest::READ | Interest::EDGE;
    registry.set(fd, interest).expect("set");
    rustix::io::write(&another_writer, b"x").expect("write");
    // The pipe that had the number is closed by that.
    let mut reader = reader;
    rustix::io::dup2(&another, &mut reader).expect("dup2");
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
    registry.renew(fd, interest).expect("renew");
    assert_eq!(poller.wait(None).expect("wait"), 1);
}

#[test]
fn only_what_was_asked_for_is_reported() {
    let Reactor { mut poller, mut registry } = reactor();
    let (a, _b) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let fd = a.as_raw_fd();
    registry.set(fd, Interest::READ).expect("set");
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
    registry.set(fd, Interest::READ_WRITE).expect("set");
    poller.wait(Some(0)).expect("wait");
    assert_eq!(poller.events().collect::<Vec<_>>(), [ready(fd, false, true)]);
    registry.clear(fd, Interest::WRITE);
    assert_eq!((registry.interest(fd), registry.len()), (Interest::READ, 1));
    registry.remove(fd);
    assert!(registry.is_empty());
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
}

#[test]
fn peer_that_hung_up_makes_ready_for_what_was_waited_for() {
    let Reactor { mut poller, mut registry } = reactor();
    let (reader, writer) = pipe();
    registry.set(reader.as_raw_fd(), Interest::READ).expect("set");
    drop(writer);
    assert_eq!(poller.wait(None).expect("wait"), 1);
    let event = poller.event(0);
    assert!(event.readable && !event.writable && event.failed);
}

#[test]
fn closed_descriptor_is_an_error_to_set_and_none_to_remove() {
    let Reactor { mut registry, .. } = reactor();
    let (reader, _writer) = pipe();
    let fd = reader.as_raw_fd();
    registry.set(fd, Interest::READ).expect("set");
    drop(reader);
    // Another test's thread may have got the number by then, hence no other check here.
    registry.remove(fd);
    assert!(registry.is_empty());
    for bad in [-1, Fd::MIN, Fd::MAX] {
        let error = registry.set(bad, Interest::READ).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        registry.remove(bad);
    }
}

#[test]
fn what_the_kernel_was_not_told_is_corrected() {
    let Reactor { mut poller, mut registry } = reactor();
    let (a, _b) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let fd = a.as_raw_fd();
    registry.set(fd, Interest::READ_WRITE).expect("set");
    // As after a removal that the kernel did not take.
    registry.remember(fd, Interest::READ);
    assert_eq!(poller.wait(Some(0)).expect("wait"), 1);
    registry.correct(fd);
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
    registry.set(fd, Interest::READ_WRITE).expect("set");
    registry.remember(fd, Interest::NONE);
    registry.correct(fd);
    assert_eq!(poller.wait(Some(0)).expect("wait"), 0);
    registry.set(fd, Interest::READ_WRITE).expect("set");
    assert_eq!(poller.wait(Some(0)).expect("wait"), 1);
}

#[test]
fn regular_file_is_refused() {
    let Reactor { mut registry, .. } = reactor();
    let file = std::fs::File::open("/proc/self/exe").expect("open");
    let error = registry.set(file.as_raw_fd(), Interest::READ).expect_err("files are always ready");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    assert!(registry.is_empty());
}

#[test]
fn timeout_never_ends_early() {
    let Reactor { mut poller, .. } = reactor();
    for timeout_ns in [1, 1_000, 100_000, 1_200_000, 3 * MS] {
        let start = now_ns();
        assert_eq!(poller.wait(Some(timeout_ns)).expect("wait"), 0);
        assert!(now_ns() - start >= timeout_ns);
    }
}

#[test]
fn wake_before_the_wait_ends_it() {
    let mut reactor = reactor();
    let waker = reactor.waker();
    waker.wake();
    waker.clone().wake();
    assert_eq!(reactor.poller.wait(None).expect("wait"), 0);
    // Both wakes are consumed: this one waits.
    let start = now_ns();
    assert_eq!(reactor.poller.wait(Some(MS)).expect("wait"), 0);
    assert!(now_ns() - start >= MS);
}

#[test]
fn wake_from_another_thread_ends_the_wait() {
    let mut reactor = reactor();
    for _ in 0..100 {
        let waker = reactor.waker();
        let start = now_ns();
        let thread = thread::spawn(move || waker.wake());
        assert_eq!(reactor.poller.wait(Some(LONG_NS)).expect("wait"), 0);
        assert!(now_ns() - start < LONG_NS / 2);
        thread.join().expect("join");
        // What is left of a wake that came late is consumed too.
        reactor.poller.wait(Some(0)).expect("wait");
    }
}

#[test]
fn signal_ends_the_wait_and_is_told() {
    extern "C" fn do_nothing(_signal: libc::c_int) {}
    let handler = do_nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is safe at any time.
    unsafe { libc::signal(libc::SIGUSR2, handler) };
    // SAFETY: it only asks who we are.
    let waiting = unsafe { libc::pthread_self() };
    let Reactor { mut poller, .. } = reactor();
    let told = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !told.load(Ordering::Relaxed) {
                // SAFETY: the thread is alive, since it ends only after this scope.
                unsafe { libc::pthread_kill(waiting, libc::SIGUSR2) };
                thread::yield_now();
            }
        });
        assert_eq!(poller.wait(Some(LONG_NS)).expect("wait"), 0);
        told.store(true, Ordering::Relaxed);
    });
    assert!(poller.was_interrupted());
}

#[test]
fn all_events_come_through_a_small_buffer() {
    let Reactor { mut poller, mut registry } = reactor();
    let pipes: Vec<_> = (0..150).map(|_| pipe()).collect();
    for (_, writer) in &pipes {
        registry.set(writer.as_raw_fd(), Interest::WRITE).expect("set");
    }
    // Level-triggered events go round; the buffer grows when it was full.
    let count = (0..3).map(|_| poller.wait(Some(0)).expect("wait")).last();
    assert_eq!(count, Some(150));
}

#[test]
fn closed_registry_leaves_the_queue_as_it_is() {
    let Reactor { mut poller, mut registry } = reactor();
    let (_reader, writer) = pipe();
    let fd = writer.as_raw_fd();
    registry.set(fd, Interest::WRITE).expect("set");
    registry.close();
    registry.remove(fd);
    assert!(registry.set(fd, Interest::READ).is_err());
    assert_eq!(poller.wait(Some(0)).expect("wait"), 1);
}

#[test]
fn halves_may_move_to_other_threads() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Reactor>();
    assert_send_sync::<super::Waker>();
}
