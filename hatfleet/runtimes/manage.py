"""What an admin does with locks: make one, look at it, fetch what it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.runtimes import hatserve, store
from hatfleet.runtimes.environment import BACKENDS, BUDGET_BYTES, declared
from hatfleet.runtimes.lock import KIND, SUFFIX, Lock, find_lock, parse, read_lock, write_lock
from hatfleet.runtimes.resolve import Change, changes, resolve
from hatfleet.runtimes.target import Target


@dataclass(frozen=True)
class Locked:
    """A lock that was written."""

    file: Path
    lock: Lock
    changes: tuple[Change, ...]
    """Beside the lock that held before."""


@dataclass(frozen=True)
class Shown:
    """A package of a lock."""

    name: str
    version: str
    licence: str
    """Empty when the wheel does not say."""
    unpacked_bytes: int
    via: tuple[str, ...]
    """Who needs it."""
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What a lock holds."""

    file: Path
    packages: tuple[Shown, ...]
    environment_bytes: int
    """Size of the environment with all backends, without what is left out."""
    budget_bytes: int


@dataclass(frozen=True)
class Fetched:
    """Wheels that are in the cache now."""

    folder: Path
    downloaded: int
    kept: int


def make_lock(site: Site, target: Target, *, upgrade: bool) -> Locked:
    """Write a lock into the site, for what hatserve requires now.

    Args:
        site: Where it goes.
        target: What the wheels have to fit.
        upgrade: Choose all versions anew.

    Raises:
        InputError: a package has no wheel for the target, or requirements contradict each other.
        HatfleetError: pip cannot download.
    """
    before = _previous(site, target)
    requirements = hatserve.requirements(hatserve.source())
    made = resolve(target, requirements, () if upgrade or before is None else before.wheels)
    file = site.root / KIND / f"{target.name}{SUFFIX}"
    write_lock(file, made)
    return Locked(file, made, changes(before.wheels if before else (), made.wheels))


def show(site: Site, target: Target) -> Contents:
    """Return what the lock for a target holds; its wheels are fetched, because they say it.

    Raises:
        InputError: there is no lock, or it is older than what hatserve requires.
        HatfleetError: a wheel cannot be fetched, or is damaged.
    """
    locked = _current(site, target)
    wheels = store.fetch(target, locked.wheels)
    packages = tuple(
        Shown(one.name, one.version, wheel.licence, wheel.unpacked_bytes, one.via, one.sha256)
        for one, wheel in zip(locked.wheels, wheels, strict=True)
    )
    whole = declared(site, target, tuple(BACKENDS))
    return Contents(find_lock(site, target), packages, whole.unpacked_bytes(), BUDGET_BYTES)


def fetch(site: Site, target: Target) -> Fetched:
    """Have all locked wheels in the cache.

    Raises:
        InputError: there is no lock, or it is older than what hatserve requires.
        HatfleetError: a wheel cannot be fetched, or has another digest than the locked one.
    """
    wheels = _current(site, target).wheels
    absent = store.missing(wheels)
    store.fetch(target, absent)
    return Fetched(store.folder(), len(absent), len(wheels) - len(absent))


def _current(site: Site, target: Target) -> Lock:
    requires = [str(one) for one in hatserve.requirements(hatserve.source())]
    return read_lock(find_lock(site, target), target, requires)


def _previous(site: Site, target: Target) -> Lock | None:
    """Return the lock that holds now, whatever it was made for; None without one that can be read."""
    try:
        return parse(find_lock(site, target), target)
    except InputError:
        return None
