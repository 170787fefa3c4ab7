"""A TCP proxy that makes the network slow, or bad, and counts what goes through it.

It runs in a process of its own, so that it costs neither side time of theirs, and obeys JSON lines on its standard
input; :class:`Proxy` is the handle. It ends when its owner does. Every route shares the delay and the fault.

The delay holds data, not the kernel's own acknowledgements: the first data of a connection waits as long as TCP's
handshake over such a line would take, everything after it the delay of one way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

CHUNK_BYTES = 65536
#: Chunks that may be on the way in one direction: a line of 64 MB, so that the delay and nothing else is the limit.
ON_THE_WAY = 1024


class Fault(StrEnum):
    """What is wrong with the network."""

    NONE = "none"
    DROP = "drop"
    """Every connection is reset, and new ones too."""
    STALL = "stall"
    """Nothing moves any more, in either direction; no connection ends."""
    TRUNCATE = "truncate"
    """Each connection carries some more bytes to the node, then both sides see its end."""


@dataclass
class Counters:
    """What went through a route since the last look."""

    connections: int = 0
    up_bytes: int = 0
    """To the node."""
    down_bytes: int = 0
    """From the node."""
    turns: int = 0
    """How often the node was sent something after it had answered: round trips that somebody waited for, about."""


@dataclass
class _Route:
    """A port that is led to, and what went there."""

    port: int
    counters: Counters = field(default_factory=Counters)

    def take(self) -> Counters:
        taken, self.counters = self.counters, Counters()
        return taken


@dataclass
class _State:
    """The network: one delay and one fault for all routes."""

    delay_s: float
    fault: Fault = Fault.NONE
    truncate_bytes: int = 0
    moving: asyncio.Event = field(default_factory=asyncio.Event)
    links: set[_Link] = field(default_factory=set)

    def set_fault(self, fault: Fault, truncate_bytes: int) -> None:
        self.fault, self.truncate_bytes = fault, truncate_bytes
        if fault is Fault.STALL:
            self.moving.clear()
        else:
            self.moving.set()
        for link in list(self.links):
            link.meet_fault()


class _Link:
    """One connection through the proxy."""

    def __init__(self, state: _State, route: _Route, client: asyncio.StreamWriter) -> None:
        self.state, self.route, self.client = state, route, client
        self.node: asyncio.StreamWriter | None = None
        self.up_budget: int | None = None
        self.last_was_up = True
        route.counters.connections += 1

    def meet_fault(self) -> None:
        """Do what the present fault does to a connection as it starts."""
        self.up_budget = self.state.truncate_bytes if self.state.fault is Fault.TRUNCATE else None
        if self.state.fault is Fault.DROP:
            self.reset()

    def reset(self) -> None:
        for writer in (self.client, self.node):
            if writer is not None:
                # socket(7): closed with a linger time of zero, a connection ends with a reset.
                sock: socket.socket = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):  # it may have ended just now
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def count(self, size: int, *, up: bool) -> None:
        counters = self.route.counters
        if up:
            counters.up_bytes += size
            counters.turns += not self.last_was_up
        else:
            counters.down_bytes += size
        self.last_was_up = up

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """Carry one direction to its end, each chunk as late as the delay says."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY)
        clock = asyncio.get_running_loop().time

        async def take_in() -> None:
            data = b"-"
            while data:
                data = await reader.read(CHUNK_BYTES)
                self.count(len(data), up=up)
                await line.put((clock() + self.state.delay_s, data))

        async def give_out() -> None:
            while True:
                due_s, data = await line.get()
                await asyncio.sleep(due_s - clock())
                await self.state.moving.wait()
                if not data:
                    writer.write_eof()
                    return
                if up and self.up_budget is not None and len(data) >= self.up_budget:
                    writer.write(data[: self.up_budget])
                    await writer.drain()
                    raise ConnectionResetError("truncated")
                if up and self.up_budget is not None:
                    self.up_budget -= len(data)
                writer.write(data)
                await writer.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take_in())
            tasks.create_task(give_out())


async def _serve(state: _State, route: _Route, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    link = _Link(state, route, client)
    state.links.add(link)
    link.meet_fault()
    # A SYN, its answer and the acknowledgement have crossed the line before the node's sshd knows of a connection.
    await asyncio.sleep(3 * state.delay_s)
    try:
        node_reader, link.node = await asyncio.open_connection("127.0.0.1", route.port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.carry(reader, link.node, up=True))
            tasks.create_task(link.carry(node_reader, client, up=False))
    except (OSError, ExceptionGroup):
        pass  # The end of a connection, whoever wanted it; the finally passes it on to both sides.
    finally:
        state.links.discard(link)
        for writer in (client, link.node):
            if writer is not None:
                writer.close()


async def _main(delay_s: float, ports: Sequence[int]) -> None:
    state = _State(delay_s)
    state.moving.set()
    routes = [_Route(port) for port in ports]
    servers = [await asyncio.start_server(partial(_serve, state, route), "127.0.0.1", 0) for route in routes]
    _answer([server.sockets[0].getsockname()[1] for server in servers])
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order: dict[str, Any] = json.loads(line)
        if "fault" in order:
            state.set_fault(Fault(order["fault"]), order["truncate_bytes"])
            _answer("done")
        else:
            _answer([asdict(route.take()) for route in routes])


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Proxy:
    """A running proxy; use it as a context manager.

    Args:
        ports: Ports on 127.0.0.1 to lead to. ``listening`` has the proxy's own ports, in the same order.
        delay_s: Delay of one way, seconds.
    """

    def __init__(self, ports: Sequence[int], *, delay_s: float = 0.0) -> None:
        root = Path(__file__).resolve().parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.delay_proxy", str(delay_s), *map(str, ports)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.listening: list[int] = self._read()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_fault(self, fault: Fault, *, truncate_bytes: int = 0) -> None:
        """Break the network, or mend it; returns when it is so."""
        self._ask({"fault": fault.value, "truncate_bytes": truncate_bytes})

    def take_counters(self) -> list[Counters]:
        """Return what went through each route since the last call."""
        return [Counters(**counted) for counted in self._ask({})]

    def close(self) -> None:
        """End the proxy and all its connections."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _ask(self, order: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
