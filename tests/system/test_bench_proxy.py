"""The proxy of the measurements delays, counts and breaks connections as it says."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from bench.delay_proxy import Fault, Proxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        received = bytearray()
        self.server.received.append(received)  # type: ignore[attr-defined]
        try:
            while data := self.request.recv(65536):
                received += data
                self.request.sendall(data)
        except OSError:
            pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    received: list[bytearray]


@pytest.fixture
def echo() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Echo) as server:
        server.received = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.listening[0]), timeout=5)


def _exchange(sock: socket.socket, data: bytes) -> bytes:
    sock.sendall(data)
    received = bytearray()
    while len(received) < len(data):
        part = sock.recv(65536)
        if not part:
            break
        received += part
    return bytes(received)


def test_a_round_trip_takes_twice_the_delay_and_a_connection_twice_that(echo: _Server) -> None:
    with Proxy([echo.server_address[1]], delay_s=0.05) as proxy, _connect(proxy) as sock:
        started = time.monotonic()
        assert _exchange(sock, b"x") == b"x"
        first = time.monotonic()
        assert _exchange(sock, b"y") == b"y"
        assert 0.2 <= first - started < 0.4
        assert 0.1 <= time.monotonic() - first < 0.2


def test_much_data_arrives_whole_and_is_delayed_once_not_once_a_chunk(echo: _Server) -> None:
    data = bytes(range(256)) * 8000
    with Proxy([echo.server_address[1]], delay_s=0.05) as proxy, _connect(proxy) as sock:
        threading.Thread(target=sock.sendall, args=(data,), daemon=True).start()
        started = time.monotonic()
        received = bytearray()
        while len(received) < len(data):
            received += sock.recv(65536)
        assert received == data
        assert time.monotonic() - started < 1.5


def test_bytes_turns_and_connections_are_counted_by_route_and_start_again_at_zero(echo: _Server) -> None:
    port = echo.server_address[1]
    with Proxy([port, port]) as proxy, _connect(proxy) as sock:
        for _ in range(3):
            _exchange(sock, b"12345")
        first, second = proxy.take_counters()
        assert (first.connections, first.up_bytes, first.down_bytes, first.turns) == (1, 15, 15, 2)
        assert second.connections == second.up_bytes == 0
        _exchange(sock, b"1")
        assert proxy.take_counters()[0].up_bytes == 1


def test_drop_resets_what_is_open_and_what_comes_until_it_is_mended(echo: _Server) -> None:
    with Proxy([echo.server_address[1]]) as proxy, _connect(proxy) as sock:
        _exchange(sock, b"x")
        proxy.set_fault(Fault.DROP)
        with pytest.raises(ConnectionError):
            assert _exchange(sock, b"x") != b"", "the connection ended, but was not reset"
        with pytest.raises(ConnectionError), _connect(proxy) as other:
            assert _exchange(other, b"x") != b"", "the connection ended, but was not reset"
        proxy.set_fault(Fault.NONE)
        with _connect(proxy) as again:
            assert _exchange(again, b"x") == b"x"


def test_stall_keeps_connections_open_and_loses_nothing(echo: _Server) -> None:
    with Proxy([echo.server_address[1]]) as proxy, _connect(proxy) as sock:
        _exchange(sock, b"x")
        proxy.set_fault(Fault.STALL)
        sock.sendall(b"later")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        proxy.set_fault(Fault.NONE)
        sock.settimeout(5)
        assert sock.recv(65536) == b"later"


def test_truncate_passes_exactly_that_many_bytes_then_ends_both_sides(echo: _Server) -> None:
    with Proxy([echo.server_address[1]]) as proxy, _connect(proxy) as sock:
        _exchange(sock, b"head")
        proxy.set_fault(Fault.TRUNCATE, truncate_bytes=1000)
        received = _exchange(sock, b"x" * 5000)
        assert len(received) <= 1000
        deadline = time.monotonic() + 5
        while bytes(echo.received[0]) != b"head" + b"x" * 1000 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert bytes(echo.received[0]) == b"head" + b"x" * 1000


def test_the_end_of_one_side_reaches_the_other(echo: _Server) -> None:
    with Proxy([echo.server_address[1]]) as proxy, _connect(proxy) as sock:
        _exchange(sock, b"x")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_a_closed_port_behind_it_ends_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Proxy([port]) as proxy, _connect(proxy) as sock:
        assert sock.recv(1) == b""
