"""Making a lock: fetch what the archive has now, and write down exactly what came."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say, step
from hatfleet.common.site import Site
from hatfleet.image import lock
from hatfleet.image.machine import host_arch, require_machine
from hatfleet.image.origin import origin
from hatfleet.image.packages import Package, fetch, read_contents
from hatfleet.image.platforms import Platform
from hatfleet.image.recipe import Recipe
from hatfleet.image.stages import plan
from hatfleet.image.store import Store
from hatfleet.image.tools import PACKAGES as TOOL_PACKAGES
from hatfleet.image.wanted import header_packages, toolchain_packages, wanted_drivers, wanted_packages


@dataclass(frozen=True)
class Change:
    """How a package differs between two locks; None where it is not in one."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Locked:
    """A lock that was written."""

    file: Path
    lock: lock.Lock
    changes: tuple[Change, ...]
    """Beside the lock that was there before, packages of the image only."""


def make_lock(recipe: Recipe, site: Site, store: Store) -> Locked:
    """Write the lock of a recipe, from what the archive has now.

    What was fetched is kept: the next build takes it from there.

    Raises:
        InputError: the recipe does not fit together.
        HatfleetError: the packages cannot be fetched.
    """
    with file_lock(cache_dir() / "locks" / f"image-{recipe.name}", f"image {recipe.name}", on_wait=say):
        require_machine(recipe.platform.arch)
        store.root.mkdir(parents=True, exist_ok=True)
        before = lock.read_lock(recipe.file)
        wanted, compiling = wanted_packages(recipe, site), toolchain_packages(wanted_drivers(recipe, site))
        with tempfile.TemporaryDirectory(dir=store.root, prefix=".lock-") as name:
            work = Path(name)
            tools = _fetch(recipe, None, TOOL_PACKAGES, work / "tools", "tools")
            packages = _fetch(recipe, recipe.platform, wanted, work / "packages", "packages")
            toolchain: tuple[Package, ...] = ()
            if compiling:
                names = (*compiling, *header_packages(packages))
                toolchain = _fetch(recipe, recipe.platform, names, work / "toolchain", "toolchain", essential=False)
            made = lock.Lock(
                suite=recipe.suite.name,
                arch=recipe.platform.arch,
                wanted=(*wanted, *compiling),
                mirror=recipe.mirror,
                packages=lock.locked(packages),
                toolchain=lock.locked(toolchain),
                tools_arch=host_arch(),
                tools=lock.locked(tools),
            )
            file = lock.write_lock(recipe.file, made)
            _keep(recipe, site, store, made, work)
    return Locked(file, made, changes(before, made))


def changes(before: lock.Lock | None, after: lock.Lock) -> tuple[Change, ...]:
    """Return what differs between the packages of two locks, by name."""
    old = {package.name: package.version for package in before.packages} if before else {}
    new = {package.name: package.version for package in after.packages}
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return tuple(Change(name, old.get(name), new.get(name)) for name in names)


def _fetch(
    recipe: Recipe,
    platform: Platform | None,
    wanted: Sequence[str],
    work: Path,
    label: str,
    *,
    essential: bool = True,
) -> tuple[Package, ...]:
    work.mkdir()
    log = cache_dir() / "logs" / f"{recipe.name}-lock-{label}.log"
    write_atomic(log, "")
    with step(f"fetch {label}") as current:
        arch = platform.arch if platform else host_arch()
        place = origin(recipe, platform, work)
        fetch(work, suite=recipe.suite, arch=arch, wanted=wanted, origin=place, log=log, essential=essential)
        found = read_contents(work)
        current.note = f"{len(found)} packages"
    return found


def _keep(recipe: Recipe, site: Site, store: Store, made: lock.Lock, fetched: Path) -> None:
    for stage in plan(recipe, site, store, made).stages:
        if stage.name in ("packages", "toolchain"):
            store.make(stage.name, stage.key, stage.inputs, recipe.name, partial(_move, fetched / stage.name))


def _move(origin: Path, to: Path) -> None:
    for path in origin.iterdir():
        shutil.move(path, to / path.name)
