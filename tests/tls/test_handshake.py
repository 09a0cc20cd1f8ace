"""The handshake: what the user's context says holds, and each failure ends with nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl

import pytest
import tonnage
from recorders import Recorder


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


def test_handshake_tells_what_was_agreed(run, connect, contexts):
    async def main():
        transport, protocol, peer = await connect()
        assert protocol.events == ["made"]
        assert protocol.transport is transport
        tls = transport.get_extra_info("ssl_object")
        assert type(tls) is ssl.SSLObject
        assert tls.version() == peer.tls.version()
        assert transport.get_extra_info("sslcontext") is contexts.client
        # aiohttp looks there.
        assert transport._ssl_protocol._sslcontext is contexts.client
        assert transport.get_extra_info("cipher") == peer.tls.cipher()
        assert transport.get_extra_info("peercert")["subjectAltName"] == (("DNS", "localhost"),)
        assert transport.get_extra_info("compression", "none") is None
        assert transport.get_extra_info("socket").family == socket.AF_UNIX
        assert transport.get_extra_info("nothing", "default") == "default"

    run(main())


def test_context_chooses_protocol_by_alpn(run, connect, contexts):
    contexts.server.set_alpn_protocols(["h2", "http/1.1"])
    contexts.client.set_alpn_protocols(["http/1.1"])

    async def main():
        transport, _, _ = await connect()
        assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"

    run(main())


def test_server_name_callback_may_change_the_context(run, connect, contexts, authority):
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "other").configure_cert(other)
    names = []

    def choose(tls, name, context):
        names.append((name, context is contexts.server))
        tls.context = other

    contexts.server.sni_callback = choose

    async def main():
        transport, _, peer = await connect(we_serve=True)
        assert names == [("localhost", True)]
        assert ("DNS", "other") in peer.tls.getpeercert()["subjectAltName"]
        assert transport.get_extra_info("ssl_object").context is other

    run(main())


def test_client_certificate_is_verified_as_the_context_says(run, connect, contexts, authority):
    contexts.server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(contexts.server)
    authority.issue_cert("user@example.org").configure_cert(contexts.client)

    async def main():
        transport, _, _ = await connect(we_serve=True)
        assert transport.get_extra_info("peercert")["subjectAltName"] == (("email", "user@example.org"),)

    run(main())


def test_server_refuses_a_client_without_certificate(loop, run, contexts, authority, connect):
    contexts.server.verify_mode = ssl.CERT_REQUIRED
    contexts.client.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.configure_trust(contexts.server)

    async def main():
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            await connect(we_serve=True)

    run(main())


@pytest.mark.parametrize(
    ("hostname", "is_trusted", "text"),
    [("localhost", False, "unable to get local issuer certificate"), ("other", True, "Hostname mismatch")],
)
def test_certificate_that_does_not_fit_is_refused(loop, run, connect, contexts, hostname, is_trusted, text):
    client = contexts.client if is_trusted else ssl.create_default_context()
    made = []

    def factory():
        made.append(Recorder())
        return made[0]

    async def main():
        with pytest.raises(ssl.SSLCertVerificationError, match=text):
            await connect(factory, ssl=client, server_hostname=hostname)
        assert made[0].events == []

    run(main())


def test_refused_certificate_leaves_no_cycle(loop, run, connect):
    async def attempt():
        with contextlib.suppress(ssl.SSLCertVerificationError):
            await connect(Recorder, ssl=ssl.create_default_context(), server_hostname="localhost")
        for _ in range(3):
            await asyncio.sleep(0)

    async def main():
        await attempt()
        gc.collect()
        alive = tonnage._tonnage._live_objects()
        gc.disable()
        try:
            await attempt()
            left = tonnage._tonnage._live_objects()
        finally:
            gc.enable()
        assert left == alive

    if not isinstance(loop, tonnage.EventLoop):
        pytest.skip("counts objects of ours")
    run(main())


def test_ssl_true_verifies_with_the_default_context(run, connect):
    async def main():
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(ssl=True)

    run(main())


def test_objects_of_the_context_s_own_class_are_used(run, connect, contexts):
    class Counting(ssl.SSLObject):
        reads = writes = 0

        def read(self, *args):
            self.reads += 1
            return super().read(*args)

        def write(self, data):
            self.writes += 1
            return super().write(data)

    contexts.client.sslobject_class = Counting

    async def main():
        transport, protocol, peer = await connect()
        await peer.write(b"question")
        assert await protocol.received(8) == b"question"
        transport.write(b"answer")
        assert await peer.read(6) == b"answer"
        tls = transport.get_extra_info("ssl_object")
        assert type(tls) is Counting
        assert tls.reads > 0
        assert tls.writes == 1

    run(main())


def test_session_is_resumed(loop, run, connect, contexts):
    contexts.client.maximum_version = ssl.TLSVersion.TLSv1_2

    class Resuming(ssl.SSLContext):
        session = None

        def wrap_bio(self, *args, **options):
            return super().wrap_bio(*args, **options, session=self.session)

    async def main():
        context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reused = []
        for _ in range(2):
            transport, _, _ = await connect(ssl=context)
            tls = transport.get_extra_info("ssl_object")
            reused.append(tls.session_reused)
            context.session = tls.session
        assert reused == [False, True]

    run(main())


def test_stream_that_ends_in_the_handshake_is_a_reset(loop, run, contexts):
    async def main():
        ours, theirs = socket.socketpair()
        theirs.shutdown(socket.SHUT_WR)
        with theirs, pytest.raises(ConnectionResetError):
            await loop.create_connection(
                Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost"
            )

    run(main())


def test_garbage_in_the_handshake_is_refused(loop, run, contexts):
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE"):
                await loop.create_connection(
                    Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost"
                )

    run(main())


def test_server_gives_up_a_handshake_that_takes_too_long(loop, run, contexts):
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            text = r"^SSL handshake is taking longer than 0.02 seconds: aborting the connection$"
            with pytest.raises(ConnectionAbortedError, match=text):
                await loop.connect_accepted_socket(
                    Recorder, ours, ssl=contexts.server, ssl_handshake_timeout=0.02
                )
            assert theirs.recv(1) == b""

    run(main())


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_cancelled_connect_leaves_nothing(loop, run, contexts, turns, asyncio_since):
    if turns < 3:
        # It goes on with a handshake that nobody waits for.
        asyncio_since()

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            connecting = loop.create_task(
                loop.create_connection(Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost")
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            theirs.settimeout(0)
            for _ in range(5):
                await asyncio.sleep(0)
            # A ClientHello may have been sent.
            while theirs.recv(65536):
                pass

    if turns == 0:
        pytest.skip("the socket is still the caller's")
    run(main())


def test_error_in_connection_made_ends_the_connection(loop, run, connect, reports):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError("made")

    made = []

    def factory():
        made.append(Failing())
        return made[0]

    async def main():
        with pytest.raises(LookupError):
            await connect(factory)
        assert isinstance(await end(made[0]), LookupError)
        assert [str(report["exception"]) for report in reports] == ["made"]

    run(main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1.5])
def test_timeout_must_be_positive(loop, run, contexts, name, seconds, asyncio_since):
    if name == "ssl_shutdown_timeout":
        asyncio_since(3, 11)

    async def main():
        ours, theirs = socket.socketpair()
        with (
            ours,
            theirs,
            pytest.raises(ValueError, match=rf"^{name} should be a positive number, got {seconds}$"),
        ):
            await loop.create_connection(
                Recorder, sock=ours, ssl=contexts.client, server_hostname="localhost", **{name: seconds}
            )

    run(main())


def test_server_needs_a_context(loop, run, contexts):
    async def main():
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)

    run(main())


def test_debug_mode_logs_the_handshake(loop, run, connect, caplog):
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, "asyncio")

    async def main():
        await connect()
        assert "starts SSL handshake" in caplog.text
        assert "SSL handshake took" in caplog.text
        # The records name the protocol.
        caplog.clear()

    run(main())


def test_server_goes_on_after_a_failed_handshake(loop, run, contexts):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=contexts.server)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as stranger:
            stranger.sendall(b"nonsense")
            stranger.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(stranger, 100) == b""
        transport, protocol = await loop.create_connection(
            Recorder, *address, ssl=contexts.client, server_hostname="localhost"
        )
        transport.close()
        assert await end(protocol) is None
        server.close()
        for _ in range(5):
            await asyncio.sleep(0.001)

    run(main())
