"""Debian packages, each list in one apt run."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.ops.base import quote
from hatfleet.ops.reads import PackagesRead, PackageState
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
    asked = {name: name.partition("=")[::2] for name in names}
    known = yield PackagesRead(tuple(package for package, _ in asked.values()))
    return [name for name, (package, version) in asked.items() if not _is_there(known.get(package), version)]


def _is_there(state: PackageState | None, version: str) -> bool:
    return state is not None and state.installed and version in ("", state.version)


def installed_packages(names: Sequence[str]) -> Steps:
    """Return those of the packages that are installed, in whatever version."""
    known = yield PackagesRead(tuple(names))
    return [name for name in names if name in known and known[name].installed]


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
    known = (yield PackagesRead(tuple(names))) if names else {}
    loose = [name for name in names if name not in known or known[name].selection != "hold"]
    if not loose:
        return
    yield Note(", ".join(loose), "hold")
    yield Command(f"printf '%s hold\\n' {quote(*loose)} | dpkg --set-selections")


@operation()
def packages_absent(*, names: Sequence[str]) -> Steps:
    """Have packages gone, with their configuration files."""
    known = (yield PackagesRead(tuple(names))) if names else {}
    there = [name for name in names if name in known and known[name].status != "not-installed"]
    if not there:
        return
    yield Note(", ".join(there), "purge")
    yield Command(f"{APT} purge {quote(*there)}")
