"""The fleet's known_hosts: the keys of one host, found without reading those of all others.

paramiko's own loader compares every line with every other one, once to read the file and once to hand it to a
client: half a second a host with 1,000 lines (docs/benchmarks.md).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from hatfleet.common.errors import InputError, Where


@dataclass(frozen=True)
class _Index:
    """The lines of a known_hosts file: by the names they give, and those that hide the name in a hash."""

    by_name: Mapping[str, tuple[tuple[int, str], ...]]
    hashed: tuple[tuple[int, str], ...]


def keys_of(file: Path, host: str) -> HostKeys:
    """Return the keys that a known_hosts file holds for a host; none when the file is missing.

    Lines with a marker (``@revoked``, ``@cert-authority``) and patterns are left alone.

    Args:
        file: The file.
        host: The host as known_hosts names it: "name" or "[name]:port".

    Raises:
        InputError: the file cannot be read, or a line for this host is not one of known_hosts.
    """
    keys = HostKeys()
    try:
        stat = file.stat()
        index = _index(file, stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        return keys
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the known_hosts file cannot be read: {error}", where=Where(file)) from error
    hashed = [line for line in index.hashed if HostKeys.hash_host(host, line[1].split()[0]) == line[1].split()[0]]
    for number, line in (*index.by_name.get(host, ()), *hashed):
        try:
            entry = HostKeyEntry.from_line(line, number)
        except (InvalidHostKey, paramiko.SSHException, ValueError) as error:
            raise InputError("this is not a line of known_hosts", where=Where(file, number)) from error
        if entry is not None and entry.key is not None:
            keys.add(host, entry.key.get_name(), entry.key)
    return keys


@functools.lru_cache(maxsize=16)
def _index(file: Path, _changed_ns: int, _size: int) -> _Index:
    """Read a file once, until it changes."""
    by_name: dict[str, list[tuple[int, str]]] = {}
    hashed: list[tuple[int, str]] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        first, _, rest = line.strip().partition(" ")
        if not rest or first.startswith(("#", "@")):
            continue
        if first.startswith("|1|"):
            hashed.append((number, line.strip()))
            continue
        for name in first.split(","):
            by_name.setdefault(name, []).append((number, line.strip()))
    return _Index({name: tuple(lines) for name, lines in by_name.items()}, tuple(hashed))
