"""Debian packages, each list in one apt run."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops.base import Commands, note_change, query, quote, unchanged

#: apt without questions: keep the configuration files that roles wrote, install nothing that nobody asked for.
APT = (
    "env DEBIAN_FRONTEND=noninteractive apt-get -y -q "
    "-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "
    "-o APT::Install-Recommends=false -o DPkg::Lock::Timeout=120"
)


def read_packages(names: Sequence[str]) -> dict[str, str]:
    """Return the dpkg state of each of the packages ("installed", "config-files", …); unknown ones are left out."""
    lines = query(
        f"dpkg-query -W -f '${{binary:Package}} ${{db:Status-Status}}\\n' {quote(*names)} 2>/dev/null || true"
    )
    states = (line.split(" ", 1) for line in lines if " " in line)
    return {name.split(":")[0]: state for name, state in states}


@operation()
def packages(*, names: Sequence[str]) -> Commands:
    """Have packages installed."""
    states = read_packages(names) if names else {}
    missing = [name for name in names if states.get(name) != "installed"]
    if not missing:
        unchanged("all packages are installed")
        return
    note_change(", ".join(missing), "install")
    yield StringCommand(f"{APT} update && {APT} install {quote(*missing)}")


@operation()
def packages_absent(*, names: Sequence[str]) -> Commands:
    """Have packages gone, with their configuration files."""
    states = read_packages(names) if names else {}
    there = [name for name in names if states.get(name, "not-installed") != "not-installed"]
    if not there:
        unchanged("none of the packages is installed")
        return
    note_change(", ".join(there), "purge")
    yield StringCommand(f"{APT} purge {quote(*there)}")
