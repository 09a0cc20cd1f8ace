//! The native classes and their layouts: the promises that `native_class` builds on, in one list.
//!
//! Coroutines written in Rust (`crate::coroutine`) are native classes too: one for each body, by its alias.

use std::mem::offset_of;

use pyo3::prelude::*;
use pyo3::types::DerefToPyAny;
use pyo3::{PyTypeCheck, ffi};

use super::native_class::{
    ClassCell, Extends, NativeLayout, Vectorcall, add_class, is_instance, type_object, type_ptr,
};
use super::unowned::Lent;
use crate::coroutine_iter::CoroutineIter;
use crate::enter::EnterCoroutine;
use crate::event_loop::{Handle, TimerHandle};
use crate::future::{Future, FutureIter};
use crate::immediate::{Immediate, ImmediateNone};
use crate::limits::{
    AcquireCoroutine, AdaptiveLimiter, Aimd, Budget, CapacityLimiter, Door, Gradient, Limiter, Permit,
    RateLimiter,
};
use crate::sock::{ReceiveCoroutine, ReceiveIntoCoroutine, SendAllCoroutine};
use crate::structured::{
    AsCompletedIterator, AsyncMap, BeginCoroutine, ChildDone, CollectCoroutine, DeadlineBlock,
    DrainCoroutine, ExitCoroutine, GatheringFuture, LeaveCoroutine, MapResults, MoveOn, NextFutureCoroutine,
    NextMappedCoroutine, NextResultCoroutine, PostponedCoroutine, RaceCoroutine, ShieldScope, SleepCoroutine,
    StartCoroutine, SubmitCoroutine, TaskGroup, TaskStatus, Timeout, Turn, WaitCoroutine, WaitForCoroutine,
    Waiting, WorkerCoroutine,
};
use crate::sync::{
    Barrier, BarrierAbortCoroutine, BarrierResetCoroutine, BarrierWaitCoroutine, BoundedSemaphore, Condition,
    ConditionCoroutine, ConditionForCoroutine, EnterByNameCoroutine, Entering, Event, EventCoroutine,
    GetCoroutine, GetManyCoroutine, JoinCoroutine, LifoQueue, Lock, LockCoroutine, NextItemCoroutine,
    PriorityQueue, PutCoroutine, Queue, QueueIterator, Semaphore, SemaphoreCoroutine,
};
use crate::task::{Task, TaskWakeup};
use crate::transports::{
    AcceptedSocket, Connections, DatagramTransport, Intake, ReadPipeTransport, SocketTransport,
    StreamTransport, TLSProtocol, TLSTransport, WritePipeTransport,
};

macro_rules! native_class {
    // `vectorcall`: its objects are called.
    ($class:ident, vectorcall) => {
        const _: fn(&$class) -> &Vectorcall<$class> = |object| &object.vectorcall;
        // SAFETY: the cell is this class's own; the offset is that of the field, whose type is checked above.
        unsafe impl NativeLayout for $class {
            const EXTRAS: Option<usize> = None;
            const VECTORCALL: Option<usize> = Some(offset_of!($class, vectorcall));
            fn cell() -> &'static ClassCell {
                static CELL: ClassCell = ClassCell::new();
                &CELL
            }
        }
        native_class!(@python $class);
    };
    // `extras`: its objects take attributes and weak references.
    ($class:ident $(, $extras:ident)?) => {
        native_class!(@layout $class, [native_class!(@offset $class $(, $extras)?)], []);
        native_class!(@python $class);
    };
    // The base is the first field, and the class is `repr(C)`.
    // `lent`: its objects have unowned references.
    ($class:ident: $base:ident, first field $field:ident $(, $lent:ident)?) => {
        native_class!(@layout $class, [<$base as NativeLayout>::EXTRAS], [$($lent)?], fn base(py: Python<'_>) -> Option<*mut ffi::PyTypeObject> {
            const { assert!(offset_of!($class, $field) == 0, "the base comes first") }
            Some(type_ptr::<$base>(py))
        });
        native_class!(@python $class);
        // SAFETY: checked above; the base type is handed to CPython.
        unsafe impl Extends<$base> for $class {}
    };
    (@offset $class:ident) => { None };
    (@offset $class:ident, $extras:ident) => { Some(offset_of!($class, $extras)) };
    (@layout $class:ident, [$extras:expr], [$($lent:ident)?] $(, $base:item)?) => {
        $(const _: fn(&$class) -> &Lent = |object| &object.$lent;)?
        // SAFETY: the cell is this class's own; a base is checked to be the first field, and the type of `lent` above.
        unsafe impl NativeLayout for $class {
            const EXTRAS: Option<usize> = $extras;
            $(const LENT: Option<usize> = Some(offset_of!($class, $lent));)?
            fn cell() -> &'static ClassCell {
                static CELL: ClassCell = ClassCell::new();
                &CELL
            }
            $($base)?
        }
    };
    (@python $class:ident) => {
        impl DerefToPyAny for $class {}

        // SAFETY: the check compares the real type of the object with the type made from the spec.
        unsafe impl PyTypeCheck for $class {
            #[inline]
            fn type_check(object: &Bound<'_, PyAny>) -> bool {
                is_instance::<$class>(object)
            }
            fn classinfo_object(py: Python<'_>) -> Bound<'_, PyAny> {
                type_object::<$class>(py).into_any()
            }
        }
    };
}

/// Lists all native classes once, bases first: their layouts, what is made when the module is, what is counted.
macro_rules! native_classes {
    ($([$class:ident $($layout:tt)*])*) => {
        $(native_class!($class $($layout)*);)*

        /// Makes the type objects, and adds the public ones to the module.
        pub(crate) fn add_classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(add_class::<$class>(module)?;)*
            Ok(())
        }

        /// How many objects of each native class are alive. Empty in release builds, which do not count.
        pub(crate) fn live_objects() -> Vec<(&'static str, isize)> {
            if cfg!(debug_assertions) {
                vec![$((stringify!($class), $class::cell().live())),*]
            } else {
                vec![]
            }
        }
    };
}

native_classes! {
    [Future, extras]
    [FutureIter]
    [Task: Future, first field future]
    [TaskWakeup, vectorcall]
    [Handle, extras]
    [TimerHandle: Handle, first field handle]
    [AcceptedSocket]
    [Connections]
    [Intake]
    [DatagramTransport, extras]
    [TLSProtocol, extras]
    [TLSTransport, extras]
    [StreamTransport, extras]
    [SocketTransport: StreamTransport, first field stream]
    [ReadPipeTransport: StreamTransport, first field stream]
    [WritePipeTransport: StreamTransport, first field stream]
    [ReceiveCoroutine]
    [ReceiveIntoCoroutine]
    [SendAllCoroutine]
    [CoroutineIter]
    [Immediate]
    [ImmediateNone]
    [ChildDone, vectorcall]
    [Door]
    [GatheringFuture: Future, first field future]
    [SleepCoroutine]
    [Turn]
    [DeadlineBlock, extras]
    [Timeout: DeadlineBlock, first field block]
    [MoveOn: DeadlineBlock, first field block]
    [ShieldScope, extras]
    [EnterCoroutine]
    [WaitForCoroutine]
    [TaskGroup, extras]
    [ExitCoroutine]
    [StartCoroutine]
    [SubmitCoroutine]
    [PostponedCoroutine]
    [TaskStatus]
    [WaitCoroutine]
    [Waiting]
    [AsCompletedIterator]
    [NextFutureCoroutine]
    [NextResultCoroutine]
    [AsyncMap, extras]
    [MapResults]
    [CollectCoroutine]
    [DrainCoroutine]
    [BeginCoroutine]
    [LeaveCoroutine]
    [NextMappedCoroutine]
    [WorkerCoroutine]
    [RaceCoroutine]
    [Budget, extras]
    [Lock, extras]
    [Semaphore, extras]
    [BoundedSemaphore: Semaphore, first field semaphore]
    [LockCoroutine]
    [SemaphoreCoroutine]
    [EnterByNameCoroutine]
    [Entering: Future, first field future, lent]
    [Event, extras]
    [EventCoroutine]
    [Condition, extras]
    [ConditionCoroutine]
    [ConditionForCoroutine]
    [Barrier, extras]
    [BarrierWaitCoroutine]
    [BarrierResetCoroutine]
    [BarrierAbortCoroutine]
    [Queue, extras]
    [LifoQueue: Queue, first field queue]
    [PriorityQueue: Queue, first field queue]
    [QueueIterator]
    [GetCoroutine]
    [GetManyCoroutine]
    [JoinCoroutine]
    [NextItemCoroutine]
    [PutCoroutine]
    [Limiter, extras]
    [CapacityLimiter: Limiter, first field limiter]
    [RateLimiter: Limiter, first field limiter]
    [AdaptiveLimiter: Limiter, first field limiter]
    [Gradient, extras]
    [Aimd, extras]
    [Permit]
    [AcquireCoroutine]
}
