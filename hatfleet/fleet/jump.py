"""The jump host of a connection, from the SSH options that an Ansible inventory gives."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Iterator

from hatfleet.fleet.job import Connection

_HOP = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9a-fA-F:.%]+)\]|(?P<name>[^:@\[\]\s]+))(?::(?P<port>\d+))?")


def jump_of(options: str, connection: Connection) -> Connection | None:
    """Return the jump host that ssh options name (``-J`` or ``-o ProxyJump=``), None when they name none.

    Other options are none of our business: host keys are always verified, and connections are shared anyway.

    Args:
        options: As in ``ansible_ssh_common_args``.
        connection: The connection to go through it; the jump host has the same key file and known_hosts.

    Raises:
        ValueError: a jump that is not understood, or a ProxyCommand.
    """
    jump: Connection | None = None
    for hop in _hops(options):
        found = _HOP.fullmatch(hop)
        port = int(found["port"] or 22) if found else 0
        if found is None or not 1 <= port <= 65535:
            raise ValueError(f"the jump host {hop!r} is not understood: write it as [user@]host[:port]")
        jump = connection.model_copy(
            update={
                "address": found["v6"] or found["name"],
                "port": port,
                "user": found["user"] or getpass.getuser(),
                "become": False,
                "jump": jump,
            }
        )
    return jump


def _hops(options: str) -> list[str]:
    value = "none"
    for name, argument in _options(shlex.split(options)):
        if name == "proxycommand" and argument.lower() != "none":
            raise ValueError("a ProxyCommand is not supported: name the host with ProxyJump")
        if name == "proxyjump":
            value = argument
    return [] if value.lower() == "none" else value.split(",")


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the names (in lower case) and values of ssh options."""
    rest = iter(words)
    for word in rest:
        if word.startswith("-J"):
            yield "proxyjump", word[2:] or next(rest, "")
        elif word.startswith("-o"):
            name, _, value = (word[2:] or next(rest, "")).partition("=")
            yield name.strip().lower(), value.strip()
