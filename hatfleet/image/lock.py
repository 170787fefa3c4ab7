"""Lock files: exactly which packages an image is made from, beside its recipe.

With a lock, a build takes these files and no others: the same image comes out wherever and whenever it is built.
Without one, a build takes what the archive has when it first fetches the packages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hatfleet.common.errors import HatfleetError, InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.image.packages import Package

SUFFIX = ".lock.json"


class LockedPackage(BaseModel):
    """One package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    arch: str
    sha256: str
    size_bytes: int


class Lock(BaseModel):
    """A lock file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    """Of the format."""
    suite: str
    arch: str
    wanted: tuple[str, ...]
    """The packages that recipe, platform and roles name, those for compiling drivers among them; the lock holds them
    and all they need."""
    mirror: str | None = None
    """The mirror they were fetched from, when the recipe names one."""
    packages: tuple[LockedPackage, ...]
    """Of the image."""
    toolchain: tuple[LockedPackage, ...] = ()
    """Compiler, headers and drivers, with all they need; nothing when no driver is compiled."""
    tools_arch: str
    """Processor of the machine whose tools are locked."""
    tools: tuple[LockedPackage, ...]
    """Of the tools tree, which makes the file systems."""

    @property
    def digest(self) -> str:
        """Hash over everything in it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]


def lock_file(recipe_file: Path) -> Path:
    """Return where the lock of a recipe lies."""
    return recipe_file.with_name(recipe_file.stem + SUFFIX)


def read_lock(recipe_file: Path) -> Lock | None:
    """Return the lock of a recipe, or None when it has none.

    Raises:
        InputError: it cannot be read.
    """
    file = lock_file(recipe_file)
    try:
        return Lock.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(
            f"this is not a lock of a recipe: {error}", where=Where(file), hint="make it anew: provision image lock"
        ) from error


def write_lock(recipe_file: Path, lock: Lock) -> Path:
    """Write the lock of a recipe and return where."""
    file = lock_file(recipe_file)
    write_atomic(file, lock.model_dump_json(indent=1) + "\n")
    return file


def require_current(lock: Lock, recipe_file: Path, *, suite: str, arch: str, wanted: Sequence[str]) -> None:
    """Check that a lock was made for what the recipe asks for now.

    Raises:
        InputError: it was not; the error names what the recipe asks for beside it.
    """
    where, hint = Where(lock_file(recipe_file)), "make it anew: provision image lock"
    if (lock.suite, lock.arch) != (suite, arch):
        raise InputError(
            f"the lock is for {lock.suite} on {lock.arch}, the recipe for {suite} on {arch}", where=where, hint=hint
        )
    new, gone = sorted(set(wanted) - set(lock.wanted)), sorted(set(lock.wanted) - set(wanted))
    if new or gone:
        changes = [*(f"+{name}" for name in new), *(f"-{name}" for name in gone)]
        raise InputError(
            f"the recipe asks for other packages than its lock: {' '.join(changes)}", where=where, hint=hint
        )


def exact(packages: Sequence[LockedPackage]) -> tuple[str, ...]:
    """Return packages as apt takes exact versions."""
    return tuple(f"{package.name}={package.version}" for package in packages)


def locked(packages: Sequence[Package]) -> tuple[LockedPackage, ...]:
    """Return fetched packages as a lock has them."""
    return tuple(
        LockedPackage(name=one.name, version=one.version, arch=one.arch, sha256=one.sha256, size_bytes=one.size_bytes)
        for one in packages
    )


def require_same(fetched: Sequence[Package], wanted: Sequence[LockedPackage]) -> None:
    """Check that exactly the locked packages were fetched.

    Raises:
        HatfleetError: one is another, missing or too much; the error names them.
    """
    found = {package.name: package for package in locked(fetched)}
    expected = {package.name: package for package in wanted}
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        raise HatfleetError(
            f"not what the lock says: {', '.join(wrong)}",
            hint="the archive gave another file under the same name and version; nothing of it was used",
        )
