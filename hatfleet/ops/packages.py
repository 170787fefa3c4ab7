"""Debian packages, each list in one apt run."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops.base import quote
from hatfleet.ops.reads import PackagesRead, Read, ShellRead
from hatfleet.ops.steps import Command, Note, Steps, operation

#: apt without questions: keep the configuration files that roles wrote, install nothing that nobody asked for.
APT = (
    "env DEBIAN_FRONTEND=noninteractive apt-get -y -q "
    "-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "
    "-o APT::Install-Recommends=false -o DPkg::Lock::Timeout=120"
)

#: An exact version may be an older one, and of a package that is held at another.
EXACT = "--allow-downgrades --allow-change-held-packages"


def missing_packages(names: Sequence[str]) -> Steps:
    """Return those of the packages that are not installed, or not in the exact version asked for."""
    bare = tuple(name.partition("=")[0] for name in names)
    asked: tuple[Read, ...] = (PackagesRead(bare),)
    if bare != tuple(names):
        asked += (ShellRead(f"dpkg-query -W -f '${{Package}}=${{Version}}\\n' {quote(*bare)} 2>/dev/null || true"),)
    states, *versions = yield asked
    return [
        name
        for name, package in zip(names, bare, strict=True)
        if states.get(package) != "installed" or ("=" in name and name not in versions[0])
    ]


@operation()
def packages(*, names: Sequence[str]) -> Steps:
    """Have packages installed; ``name=version`` asks for exactly that version, also where it is older."""
    missing = (yield from missing_packages(names)) if names else []
    if not missing:
        return
    yield Note(", ".join(missing), "install")
    exact = f" {EXACT}" if any("=" in name for name in missing) else ""
    yield Command(f"{APT} update && {APT}{exact} install {quote(*missing)}")


@operation()
def packages_held(*, names: Sequence[str]) -> Steps:
    """Have packages stay as they are when all others are upgraded."""
    lines = (
        (yield ShellRead(f"dpkg-query -W -f '${{Package}} ${{db:Status-Want}}\\n' {quote(*names)} 2>/dev/null || true"))
        if names
        else []
    )
    loose = [name for name in names if f"{name} hold" not in lines]
    if not loose:
        return
    yield Note(", ".join(loose), "hold")
    yield Command(f"printf '%s hold\\n' {quote(*loose)} | dpkg --set-selections")


@operation()
def packages_absent(*, names: Sequence[str]) -> Steps:
    """Have packages gone, with their configuration files."""
    states = (yield PackagesRead(tuple(names))) if names else {}
    there = [name for name in names if states.get(name, "not-installed") != "not-installed"]
    if not there:
        return
    yield Note(", ".join(there), "purge")
    yield Command(f"{APT} purge {quote(*there)}")
