//! The loop's `sock_recv`, `sock_recv_into` and `sock_sendall`: single operations on the user's own sockets.
//!
//! Each is tried at once; if the socket is not ready, the coroutine waits for that only, and tries again when it
//! runs, so that a cancelled wait has taken nothing from the socket. A large send lets those receive first who are
//! about to (`event_loop/turn_order.rs`). A plain socket is used by its descriptor, any other object by its methods.
//! The rarer operations are in `python/tonnage/sock.py`. The meaning is that of CPython 3.15,
//! Lib/asyncio/selector_events.py, on every version.

mod readiness;
mod receive;
mod send;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError};
use pyo3::prelude::*;
use tonnage_core::reactor::Fd;

pub(crate) use receive::{ReceiveCoroutine, ReceiveIntoCoroutine};
pub(crate) use send::SendAllCoroutine;

use crate::cpython::{Args, Methods, Object, Parameters};
use crate::event_loop::EventLoop;
use crate::names;

pub(crate) fn methods(methods: &mut Methods<EventLoop>) {
    methods.with_args(c"sock_recv", c"Receive up to `n` bytes.", |event_loop, args| {
        let [sock, n] = arguments(args, "sock_recv", "n")?;
        receive::to_bytes(event_loop, &sock, &n)
    });
    methods.with_args(
        c"sock_recv_into",
        c"Receive into `buf`, and return the number of bytes.",
        |event_loop, args| {
            let [sock, buffer] = arguments(args, "sock_recv_into", "buf")?;
            receive::into_buffer(event_loop, &sock, &buffer)
        },
    );
    methods.with_args(
        c"sock_sendall",
        c"Send all of `data`; after an error or a cancellation, nobody knows how much was sent.",
        |event_loop, args| {
            let [sock, data] = arguments(args, "sock_sendall", "data")?;
            send::all(event_loop, &sock, &data)
        },
    );
}

fn arguments<'py>(
    args: Args<'_, 'py>,
    function: &'static str,
    second: &'static str,
) -> PyResult<[Object<'py>; 2]> {
    if let [sock, second] = args.positional()
        && !args.has_keywords()
    {
        return Ok([sock.clone(), second.clone()]);
    }
    let parameters = Parameters { function, names: ["sock", second], positional: 2, required: 2 };
    Ok(args.parse(&parameters)?.map(|argument| argument.expect("required")))
}

/// The checks that come before the first attempt.
fn check(event_loop: &Bound<'_, EventLoop>, sock: &Object<'_>) -> PyResult<()> {
    if event_loop.get().debug() || !is_plain(sock)? {
        event_loop.call_method1(names::_check_socket(sock.py()), (sock,))?;
    }
    Ok(())
}

/// Is it a socket whose methods nobody overrides?
fn is_plain(sock: &Object<'_>) -> PyResult<bool> {
    Ok(sock.get_type().is(names::socket_class(sock.py())?))
}

/// The descriptor of a plain socket that is open; anything else is used by its methods, which raise what they
/// have to.
fn descriptor(sock: &Object<'_>) -> PyResult<Option<Fd>> {
    if !is_plain(sock)? {
        return Ok(None);
    }
    let fd: Fd = sock.call_method0(names::fileno(sock.py()))?.extract()?;
    Ok((fd >= 0).then_some(fd))
}

/// What a method of the socket gave; nothing if the socket is not ready.
fn unless_not_ready<'py>(py: Python<'py>, called: PyResult<Object<'py>>) -> PyResult<Option<Object<'py>>> {
    match called {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py)
                || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
