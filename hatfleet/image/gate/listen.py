"""Which sockets of a booted device wait for the network, judged by the allow-list."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from hatfleet.common.errors import HatfleetError
from hatfleet.image.gate import model
from hatfleet.image.gate.model import Finding
from hatfleet.image.gate.policy import LOOPBACK

#: Run as root: only then does ss name the programs. TCP and UDP, listening, numbers, no heading.
COMMAND = "ss -H -l -n -t -u -p"

_PROGRAM = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections or packets."""

    protocol: str
    """tcp or udp."""
    address: str
    port: int
    program: str
    """Empty when the system does not say."""
    loopback: bool
    """Whether only the device itself can reach it."""

    @property
    def name(self) -> str:
        """How an allow-list names it: tcp/22, or tcp/loopback:631."""
        return f"{self.protocol}/{LOOPBACK + ':' if self.loopback else ''}{self.port}"


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Read what ``ss`` printed.

    Raises:
        HatfleetError: a line cannot be understood; it is not left out, because what is not seen is not judged.
    """
    return tuple(_parse(line) for line in text.splitlines() if line.strip())


def judge_listeners(text: str, allowed: Collection[str]) -> tuple[Finding, ...]:
    """Return every socket in the output of ``ss`` that is not allowed, each name once.

    A socket on the loopback addresses has a name of its own (tcp/loopback:631); it is also allowed where its port is
    allowed in general (tcp/631), which is the wider right.

    Args:
        text: What COMMAND printed.
        allowed: Names as in :class:`hatfleet.image.gate.policy.Policy`.

    Raises:
        HatfleetError: a line cannot be understood.
    """
    found: dict[str, Finding] = {}
    for listener in parse_listeners(text):
        if not {listener.name, f"{listener.protocol}/{listener.port}"} & set(allowed):
            what = f"{listener.program or 'an unknown program'} waits on {listener.address}"
            found.setdefault(listener.name, Finding.of(model.LISTEN, listener.name, what))
    return tuple(found.values())


def device_listeners(run: Callable[[str], str], allowed: Collection[str]) -> tuple[Finding, ...]:
    """Judge the sockets of a device.

    Args:
        run: Runs a shell command on the device as root and returns its output, or raises.
        allowed: Names as in :class:`hatfleet.image.gate.policy.Policy`.

    Raises:
        HatfleetError: the output cannot be understood.
    """
    return judge_listeners(run(COMMAND), allowed)


def _parse(line: str) -> Listener:
    words = line.split()
    try:
        protocol, local = words[0], words[4]
        address, _, port = local.rpartition(":")
        bare = address.strip("[]").partition("%")[0].rstrip("]")
        program = _PROGRAM.search(line)
        return Listener(
            protocol=protocol,
            address=local,
            port=int(port),
            program=program[1] if program else "",
            loopback=bare != "*" and _is_loopback(bare),
        )
    except (IndexError, ValueError) as error:
        raise HatfleetError(f"a line of ss cannot be understood: {line.strip()!r}") from error


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
