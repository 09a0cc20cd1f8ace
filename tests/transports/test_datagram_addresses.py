"""Datagram transports: the addresses of each family."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from .peer import until


def has_ipv6():
    """Tell whether this machine has IPv6's loopback address: many containers have none."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def name_of(transport):
    return transport.get_extra_info("sockname")


@needs_ipv6
def test_addresses_of_ipv6_have_flow_and_scope(run, endpoint):
    async def main():
        server, heard = await endpoint(local_addr=("::1", 0))
        client, _ = await endpoint(local_addr=("::1", 0))
        host, port, flow, scope = name_of(server)
        for address in ((host, port), (host, port, flow), (host, port, flow, scope), ("::0:1", port)):
            client.sendto(b"x", address)
        await until(lambda: len(heard.received) == 4)
        assert heard.received == [(b"x", name_of(client))] * 4
        assert heard.received[0][1][2:] == (0, 0)

    run(main())


@needs_ipv6
@pytest.mark.parametrize("rest", [(0x100000,), (-1,), ("0",), (0, "0"), (0, 0, 0)])
def test_flow_and_scope_that_are_none_end_the_transport(run, endpoint, reports, rest):
    async def main():
        transport, protocol = await endpoint(local_addr=("::1", 0))
        transport.sendto(b"x", ("::1", 9, *rest))
        assert isinstance(await asyncio.wait_for(protocol.lost, 5), (OverflowError, TypeError, ValueError))

    run(main())
    assert [report["message"] for report in reports] == ["Fatal write error on datagram transport"]


@needs_ipv6
def test_ipv4_sender_has_a_mapped_address_at_a_socket_of_both(run, endpoint):
    async def main():
        ours = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ours.bind(("::", 0))
        server, heard = await endpoint(sock=ours)
        client, answered = await endpoint()
        client.sendto(b"x", ("127.0.0.1", name_of(server)[1]))
        await until(lambda: heard.received)
        ((_, sender),) = heard.received
        assert sender == ("::ffff:127.0.0.1", name_of(client)[1], 0, 0)
        server.sendto(b"y", sender)
        await until(lambda: answered.received)

    run(main())


def test_unix_endpoints_are_known_by_path(run, endpoint, tmp_path):
    paths = [str(tmp_path / name) for name in ("server", "client", "zugänglich")]

    async def main():
        server, heard = await endpoint(family=socket.AF_UNIX, local_addr=paths[0])
        client, answered = await endpoint(family=socket.AF_UNIX, local_addr=paths[1], remote_addr=paths[0])
        other, _ = await endpoint(family=socket.AF_UNIX, local_addr=paths[2])
        client.sendto(b"ping")
        other.sendto(b"other", paths[0])
        await until(lambda: len(heard.received) == 2)
        assert heard.received == [(b"ping", paths[1]), (b"other", paths[2])]
        server.sendto(b"pong", paths[1])
        server.sendto(b"x", paths[2].encode())
        await until(lambda: answered.received)
        assert answered.received == [(b"pong", paths[0])]

    run(main())


def test_unix_endpoints_are_known_by_abstract_name(run, endpoint):
    name = f"\0tonnage-test-{os.getpid()}-{os.urandom(4).hex()}"

    async def main():
        server, heard = await endpoint(family=socket.AF_UNIX, local_addr=name)
        assert name_of(server) == name.encode()
        unbound, _ = await endpoint(family=socket.AF_UNIX)
        unbound.sendto(b"from nobody", name)
        unbound.sendto(b"from nobody", name.encode())
        server.sendto(b"from itself", name)
        await until(lambda: len(heard.received) == 3)
        assert [sender for _, sender in heard.received] == [None, None, name.encode()]

    run(main())


def test_unix_paths_that_cannot_be_are_errors(run, endpoint, reports):
    async def main():
        transport, protocol = await endpoint(family=socket.AF_UNIX)
        transport.sendto(b"x", "/nowhere/at/all")
        transport.sendto(b"x", "x" * 200)
        assert isinstance(protocol.errors[0], FileNotFoundError)
        assert str(protocol.errors[1]) == "AF_UNIX path too long"
        transport.sendto(b"x", "a\0b")
        assert not transport.is_closing()

    run(main())


def test_stale_socket_is_removed_and_a_file_is_not(run, endpoint, tmp_path):
    path = tmp_path / "server"

    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(str(path))
        transport, protocol = await endpoint(family=socket.AF_UNIX, local_addr=str(path))
        transport.close()
        await protocol.lost
        path.unlink()
        path.write_text("precious")
        with pytest.raises(OSError, match="in use"):
            await endpoint(family=socket.AF_UNIX, local_addr=str(path))
        assert path.read_text() == "precious"

    run(main())


def test_one_of_a_pair_sends_to_the_other(run, datagram_pair, asyncio_since):
    # asyncio takes the empty name of the peer for no peer, and fails.
    asyncio_since()

    async def main():
        transport, protocol, peer = await datagram_pair()
        transport.sendto(b"ping")
        assert peer.recv(10) == b"ping"
        peer.send(b"pong")
        await until(lambda: protocol.received)
        assert protocol.received == [(b"pong", None)]

    run(main())


def test_broadcast_goes_to_the_remote_address(run, endpoint):
    async def main():
        server, heard = await endpoint(local_addr=("0.0.0.0", 0))
        port = name_of(server)[1]
        client, _ = await endpoint(remote_addr=("127.255.255.255", port), allow_broadcast=True)
        assert client.get_extra_info("peername") is None
        client.sendto(b"all")
        client.sendto(b"all", ("127.255.255.255", port))
        with pytest.raises(ValueError, match="Invalid address"):
            client.sendto(b"one", ("127.0.0.1", port))
        await until(lambda: len(heard.received) == 2)
        server.sendto(b"answer", heard.received[0][1])
        await until(lambda: client.get_protocol().received)

    run(main())


@pytest.mark.parametrize("allowed", [False, True])
def test_datagram_may_be_sent_to_all(run, endpoint, allowed):
    async def main():
        transport, protocol = await endpoint(family=socket.AF_INET, allow_broadcast=allowed or None)
        transport.sendto(b"x", ("<broadcast>", 9))
        assert [type(error) for error in protocol.errors] == ([] if allowed else [PermissionError])
        assert not transport.is_closing()

    run(main())


def test_class_of_a_socket_may_send_and_receive_in_its_own_way(run, endpoint):
    class Proxied(socket.socket):
        def recvfrom(self, *args):
            data, sender = super().recvfrom(*args)
            return data.upper(), ["proxy", sender]

        def sendto(self, data, address):
            return super().sendto(data[::-1], address[1])

    async def main():
        ours = Proxied(type=socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        transport, protocol = await endpoint(sock=ours)
        transport.sendto(b"abc", ("proxy", ours.getsockname()))
        await until(lambda: protocol.received)
        assert protocol.received == [(b"CBA", ["proxy", ours.getsockname()])]

    run(main())


def test_other_families_are_left_to_the_socket(run, endpoint):
    async def main():
        try:
            ours = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
            ours.bind((0, 0))
        except OSError as error:
            pytest.skip(f"no netlink here: {error}")
        transport, protocol = await endpoint(sock=ours)
        # RTM_GETLINK of all links: struct nlmsghdr, struct ifinfomsg.
        request = b"".join(
            number.to_bytes(size, "little")
            for number, size in ((32, 4), (18, 2), (0x301, 2), (1, 4), (0, 4), (0, 16))
        )
        transport.sendto(request, (0, 0))
        await until(lambda: protocol.received or protocol.errors)
        assert protocol.received[0][1] == (0, 0)

    run(main())
