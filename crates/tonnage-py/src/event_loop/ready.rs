//! What the loop has to run: the one closed list of ready things.

use super::handle::Handle;
use crate::cpython::{Owned, Visit};
use crate::future::Future;
use crate::limits::Limiter;
use crate::structured::DeadlineBlock;
use crate::task::Task;
use crate::transports::{AnyTransport, StreamTransport};

pub(crate) enum Ready {
    /// The next step of a task.
    Step(Owned<Task>),
    /// A callback that a user scheduled, a timer, or a watched descriptor.
    Handle(Owned<Handle>),
    /// A done callback of a future.
    Callback(Box<DoneCallback>),
    /// A future whose time has come: its result is None.
    Wake(Owned<Future>),
    /// A timeout whose deadline has passed.
    Expire(Owned<DeadlineBlock>),
    /// A limiter for which the time has come to serve those who wait.
    Serve(Owned<Limiter>),
    /// A transport that begins: its protocol is told of the connection.
    Begin(Owned<StreamTransport>),
    /// A transport that begins to read.
    Start(Owned<StreamTransport>),
    /// A transport whose connection has ended, for no reason that its protocol is told.
    End(Owned<StreamTransport>),
    /// A transport whose descriptor is readable.
    Readable(AnyTransport),
    /// A transport whose descriptor is writable.
    Writable(AnyTransport),
}

/// A done callback and its argument. Boxed, so that a ready thing is two words.
pub(crate) struct DoneCallback {
    pub(crate) callback: Owned,
    pub(crate) future: Owned<Future>,
    pub(crate) context: Owned,
}

impl Ready {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Step(task) => visit.call(task),
            Self::Handle(handle) => visit.call(handle),
            Self::Callback(done) => match (visit.call(&done.callback), visit.call(&done.future)) {
                (0, 0) => visit.call(&done.context),
                (0, shown) | (shown, _) => shown,
            },
            Self::Wake(future) => visit.call(future),
            Self::Expire(timeout) => visit.call(timeout),
            Self::Serve(limiter) => visit.call(limiter),
            Self::Begin(transport) | Self::Start(transport) | Self::End(transport) => visit.call(transport),
            Self::Readable(transport) | Self::Writable(transport) => transport.traverse(visit),
        }
    }
}
