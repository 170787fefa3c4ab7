"""Debian packages, each list in one apt run."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops.base import quote
from hatfleet.ops.reads import PackagesRead
from hatfleet.ops.steps import Command, Note, Steps, operation

#: apt without questions: keep the configuration files that roles wrote, install nothing that nobody asked for.
APT = (
    "env DEBIAN_FRONTEND=noninteractive apt-get -y -q "
    "-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "
    "-o APT::Install-Recommends=false -o DPkg::Lock::Timeout=120"
)


@operation()
def packages(*, names: Sequence[str]) -> Steps:
    """Have packages installed."""
    states = (yield PackagesRead(tuple(names))) if names else {}
    missing = [name for name in names if states.get(name) != "installed"]
    if not missing:
        return
    yield Note(", ".join(missing), "install")
    yield Command(f"{APT} update && {APT} install {quote(*missing)}")


@operation()
def packages_absent(*, names: Sequence[str]) -> Steps:
    """Have packages gone, with their configuration files."""
    states = (yield PackagesRead(tuple(names))) if names else {}
    there = [name for name in names if states.get(name, "not-installed") != "not-installed"]
    if not there:
        return
    yield Note(", ".join(there), "purge")
    yield Command(f"{APT} purge {quote(*there)}")
