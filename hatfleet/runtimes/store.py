"""Wheels that were fetched, each under the digest of its content; verified whenever one is used."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.common.paths import cache_dir
from hatfleet.runtimes.lock import LockedWheel
from hatfleet.runtimes.pip import download
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel


def folder() -> Path:
    """Where wheels are kept."""
    return cache_dir() / "wheels"


def put(path: Path, sha256: str) -> Path:
    """Keep a wheel, whole or not at all, and return where."""
    place = folder() / sha256
    if place.is_dir():
        shutil.rmtree(place)
    folder().mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder(), prefix=".new-"))
    try:
        shutil.copyfile(path, work / path.name)
        work.chmod(0o755)
        work.replace(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return place / path.name


def find(wheel: LockedWheel) -> Wheel | None:
    """Return a wheel that is kept and has the locked digest; None when there is none, or a damaged one."""
    kept = [Wheel(path) for path in (folder() / wheel.sha256).glob("*.whl")]
    return next((one for one in kept if one.sha256 == wheel.sha256), None)


def missing(wheels: Sequence[LockedWheel]) -> tuple[LockedWheel, ...]:
    """Return those of the wheels that would have to be downloaded."""
    return tuple(wheel for wheel in wheels if find(wheel) is None)


def fetch(target: Target, wheels: Sequence[LockedWheel]) -> tuple[Wheel, ...]:
    """Return the locked wheels; what is not kept yet is downloaded, all or nothing of it.

    Raises:
        HatfleetError: a wheel cannot be downloaded, or has another digest than the locked one.
    """
    kept = {wheel: find(wheel) for wheel in wheels}
    if absent := [wheel for wheel, one in kept.items() if one is None]:
        _download(target, absent)
        kept |= {wheel: find(wheel) for wheel in absent}
    if lost := [wheel.pinned for wheel, one in kept.items() if one is None]:
        raise HatfleetError(f"wheels went away while they were used: {', '.join(lost)}", hint="run it again")
    return tuple(one for one in kept.values() if one is not None)


def _download(target: Target, wheels: Sequence[LockedWheel]) -> None:
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as name:
        work = Path(name)
        wanted = work / "requirements.txt"
        wanted.write_text("".join(wheel.text for wheel in wheels))
        into = work / "wheels"
        into.mkdir()
        digests = {wheel.sha256 for wheel in wheels}
        for path in download(target, ["--no-deps", "--require-hashes", "--requirement", wanted], into):
            wheel = Wheel(path)
            if wheel.sha256 not in digests:
                raise HatfleetError(f"{path.name} has another digest than the locked one: {wheel.sha256}")
            put(path, wheel.sha256)
