//! The fence: every `unsafe` block, every call of the C API and every difference between versions of
//! CPython that the extension needs. What it sells is safe; nothing outside sees `*mut PyObject`.
#![allow(unsafe_code, reason = "this is the one place for it")]

mod args;
#[cfg(not(Py_3_14))]
mod block_methods;
pub(crate) mod buffer;
pub(crate) mod call;
mod classes;
pub(crate) mod compat;
pub(crate) mod context;
pub(crate) mod coroutine;
pub(crate) mod current;
mod dealloc;
mod deque;
mod free_list;
mod guarded;
pub(crate) mod interpreter;
mod loop_ref;
pub(crate) mod memory_bio;
mod methods;
pub(crate) mod native_class;
pub(crate) mod number;
mod openssl;
mod owned;
pub(crate) mod recursion;
mod refcount;
mod slots;
pub(crate) mod ssl_session;
pub(crate) mod stop_iteration;
mod thread;
pub(crate) mod thread_loop;
mod trampoline;
mod trash;
mod unowned;
mod visit;

pub(crate) use args::{Args, Parameters};
pub(crate) use classes::{add_classes, live_objects};
pub(crate) use deque::{Deque, Deques};
pub(crate) use guarded::Guarded;
pub(crate) use loop_ref::{LoopOf, LoopRef, Mark, into_native_loop, native_loop};
pub(crate) use methods::{Methods, add_function, add_function_of_one, add_methods, receiver_of};
pub(crate) use native_class::{Extras, Native, NativeClass, NativeLayout, PlainDrop, Vectorcall};
pub(crate) use owned::{Owned, another};
pub(crate) use slots::{Object, Slots, Step};
pub(crate) use thread::thread_id;
pub(crate) use trampoline::told;
pub(crate) use unowned::{Lent, Unowned};
pub(crate) use visit::Visit;
