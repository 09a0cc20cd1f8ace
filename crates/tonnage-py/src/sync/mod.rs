//! Synchronisation between tasks: locks, semaphores, events, conditions, barriers and queues.
//!
//! Under all of them is one line of waiters (`tonnage_core::waiters`): first come, first served. What is
//! released is handed to the first waiter at that moment; who gives up leaves no trace, and passes on what it
//! was given.

mod bound_loop;
