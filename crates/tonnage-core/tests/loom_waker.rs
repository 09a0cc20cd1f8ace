//! No wake is lost, however the loop and its wakers interleave.
//!
//! This includes the reactor's `wake_state.rs` itself, built on loom's atomics;
//! the eventfd is played by a mutex and a condition variable. A lost wake shows
//! as a deadlock, which loom reports. It runs with the other tests:
//!
//!     cargo test -p tonnage-core --test loom_waker

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use wake_state::WakeState;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
}

#[path = "../src/reactor/wake_state.rs"]
mod wake_state;

/// An edge-triggered eventfd in an epoll: each write is reported once.
#[derive(Default)]
struct Kernel {
    unreported: Mutex<bool>,
    written: Condvar,
}

impl Kernel {
    fn write(&self) {
        *self.unreported.lock().expect("no panic") = true;
        self.written.notify_one();
    }

    fn wait(&self, may_block: bool) {
        let mut unreported = self.unreported.lock().expect("no panic");
        while may_block && !*unreported {
            unreported = self.written.wait(unreported).expect("no panic");
        }
        *unreported = false;
    }
}

struct Loop {
    state: WakeState,
    kernel: Kernel,
    /// What `call_soon_threadsafe` queued. Relaxed, so that only the wake makes it visible.
    queued: AtomicUsize,
    system_calls: AtomicUsize,
}

impl Loop {
    fn new() -> Self {
        Self {
            state: WakeState::new(),
            kernel: Kernel::default(),
            queued: AtomicUsize::new(0),
            system_calls: AtomicUsize::new(0),
        }
    }

    /// As `Waker::wake`, after work was queued.
    fn queue_and_wake(&self) {
        self.queued.fetch_add(1, atomic::Ordering::Relaxed);
        if self.state.wake() {
            self.system_calls.fetch_add(1, atomic::Ordering::Relaxed);
            self.kernel.write();
        }
    }

    /// As `Poller::wait` without a timeout.
    fn wait(&self) {
        let may_block = self.state.lie_down();
        self.kernel.wait(may_block);
        self.state.get_up();
    }
}

/// The loop waits until it saw the work of all wakers, and nothing else ever wakes it.
fn check(wakers: usize, wakes_each: usize) {
    let mut model = loom::model::Builder::new();
    // All interleavings of three threads take minutes; a lost wake needs two preemptions.
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(Loop::new());
        let threads: Vec<_> = (0..wakers)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || (0..wakes_each).for_each(|_| shared.queue_and_wake()))
            })
            .collect();
        let mut waits = 0;
        while shared.queued.load(atomic::Ordering::Relaxed) < wakers * wakes_each {
            shared.wait();
            waits += 1;
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(shared.system_calls.load(atomic::Ordering::Relaxed) <= waits, "one write a sleep at most");
    });
}

#[test]
fn two_wakes_of_one_thread_are_not_lost() {
    check(1, 2);
}

#[test]
fn wakes_of_two_threads_are_not_lost() {
    check(2, 1);
}
