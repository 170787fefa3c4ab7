"""Making a lock: which wheels fulfil what hatserve requires, on the target and not on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hatfleet.common.errors import HatfleetError
from hatfleet.runtimes import store
from hatfleet.runtimes.hatserve import NAME
from hatfleet.runtimes.lock import Lock, LockedWheel
from hatfleet.runtimes.pip import download
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel

#: How often pip is asked again for what only the target needs.
_ROUNDS = 8


@dataclass(frozen=True)
class Change:
    """How a package differs between two locks; None where it is not in one."""

    name: str
    before: str | None
    after: str | None


def resolve(target: Target, requirements: Sequence[Requirement], keep: Sequence[LockedWheel] = ()) -> Lock:
    """Choose the newest wheels that fulfil requirements, and keep them for the build that comes next.

    pip compares environment markers with the Python that it runs on. So what it chose is compared with the target's
    markers here: what only this machine needs is left out, and what only the target needs is asked for by name.

    Args:
        target: What the wheels have to fit.
        requirements: What is wanted.
        keep: Wheels whose versions are taken again wherever they are needed.

    Raises:
        InputError: a package has no wheel for the target, or requirements contradict each other.
        HatfleetError: pip cannot download.
    """
    wanted = [_plain(one) for one in requirements if _applies(one, target.markers)]
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as name:
        folder = Path(name)
        constraints = folder / "constraints.txt"
        constraints.write_text("".join(f"{wheel.pinned}\n" for wheel in keep))
        for _ in range(_ROUNDS):
            found = folder / "wheels"
            found.mkdir(exist_ok=True)
            for old in found.iterdir():
                old.unlink()
            paths = download(target, ["--constraint", constraints, *wanted], found)
            wheels = {wheel.name: wheel for wheel in map(Wheel, paths)}
            needs = _Needs(target, wheels)
            needs.walk(requirements, NAME)
            if not needs.missing:
                chosen = [wheels[one] for one in sorted(needs.via)]
                for wheel in chosen:
                    store.put(wheel.path, wheel.sha256)
                locked = tuple(_locked(wheel, needs.via[wheel.name]) for wheel in chosen)
                return Lock(target, tuple(str(one) for one in requirements), locked)
            wanted += needs.missing
    raise HatfleetError(f"pip does not find what {target} needs: {', '.join(needs.missing)}")


def changes(before: Sequence[LockedWheel], after: Sequence[LockedWheel]) -> tuple[Change, ...]:
    """Return what differs between the wheels of two locks, by name."""
    old, new = ({wheel.name: wheel for wheel in wheels} for wheels in (before, after))
    names = sorted(
        name for name in old.keys() | new.keys() if name not in old or name not in new or old[name] != new[name]
    )
    return tuple(
        Change(name, old[name].version if name in old else None, new[name].version if name in new else None)
        for name in names
    )


class _Needs:
    """Follows requirements through wheels as the target understands them."""

    def __init__(self, target: Target, wheels: Mapping[str, Wheel]) -> None:
        self.via: dict[str, set[str]] = {}
        self.missing: list[str] = []
        self._followed: set[tuple[str, tuple[str, ...]]] = set()
        self._target, self._wheels = target, wheels

    def walk(self, requirements: Sequence[Requirement], by: str, extras: Sequence[str] = ("",)) -> None:
        """Note everything that requirements lead to.

        Args:
            requirements: What is required.
            by: Who requires it.
            extras: The optional parts that were asked for.
        """
        for one in requirements:
            if not any(_applies(one, {**self._target.markers, "extra": extra}) for extra in extras):
                continue
            name = str(canonicalize_name(one.name))
            wheel = self._wheels.get(name)
            if wheel is None or not one.specifier.contains(wheel.version, prereleases=True):
                self.missing.append(_plain(one))
                continue
            self.via.setdefault(name, set()).add(by)
            step = (name, ("", *sorted(one.extras)))
            if step not in self._followed:
                self._followed.add(step)
                self.walk(wheel.requires, *step)


def _applies(requirement: Requirement, markers: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(dict(markers))


def _plain(requirement: Requirement) -> str:
    """Return a requirement without its marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _locked(wheel: Wheel, via: set[str]) -> LockedWheel:
    return LockedWheel(wheel.name, str(wheel.version), wheel.sha256, tuple(sorted(via)))
