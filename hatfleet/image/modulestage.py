"""The stages that compile drivers: fetching what compiles them, and compiling.

What compiles is fetched in a step of its own, so that the list of an image's packages is free of compilers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hatfleet.fleet.roles import KernelDriver
from hatfleet.image import lock
from hatfleet.image.modules import build_modules
from hatfleet.image.origin import origin
from hatfleet.image.packages import fetch, read_contents
from hatfleet.image.recipe import Recipe
from hatfleet.image.stage import Stage, Workplace, code
from hatfleet.image.wanted import header_packages, toolchain_packages


def toolchain_stage(
    recipe: Recipe, drivers: tuple[KernelDriver, ...], locked: lock.Lock | None, packages: Stage, *, fetched: Path
) -> Stage:
    """Return the stage that fetches compiler, headers and the packages of drivers.

    Args:
        recipe: The recipe.
        drivers: The drivers.
        locked: The recipe's lock, if it has one.
        packages: The stage that fetches the image's packages.
        fetched: Where its output lies: the kernel is among them.
    """
    names = toolchain_packages(drivers)
    inputs = {
        packages.label: packages.key,
        "packages": " ".join(lock.exact(locked.toolchain) if locked else names),
        "hatfleet code": code("packages", "origin", "archives", "wanted", "modulestage"),
    }

    def make(at: Workplace) -> None:
        at.progress("compiler, headers of the kernel and drivers")
        # Exactly the headers of the image's kernel, whichever is the newest by now.
        wanted = lock.exact(locked.toolchain) if locked else (*names, *header_packages(read_contents(fetched)))
        place = origin(recipe, recipe.platform, at.folder)
        arch = recipe.platform.arch
        fetch(at.folder, suite=recipe.suite, arch=arch, wanted=wanted, origin=place, log=at.log, essential=False)
        if locked:
            lock.require_same(read_contents(at.folder), locked.toolchain)

    return Stage("toolchain", inputs, make)


def modules_stage(
    recipe: Recipe,
    drivers: tuple[KernelDriver, ...],
    bootstrapped: Stage,
    toolchain: Stage,
    *,
    folder: Callable[[Stage], Path],
) -> Stage:
    """Return the stage that compiles drivers.

    Args:
        recipe: The recipe.
        drivers: The drivers.
        bootstrapped: The stage with the root file system that has the kernel.
        toolchain: The stage with compiler, headers and drivers.
        folder: Tells where a stage's output lies.
    """
    inputs = {
        bootstrapped.label: bootstrapped.key,
        toolchain.label: toolchain.key,
        "drivers": " ".join(str(driver) for driver in drivers),
        "hatfleet code": code("modules", "modulestage", "files/build-driver.sh", "tree"),
    }

    def make(at: Workplace) -> None:
        build_modules(
            at.folder,
            bootstrap=folder(bootstrapped),
            toolchain=folder(toolchain),
            drivers=drivers,
            epoch_s=recipe.suite.epoch_s,
            log=at.log,
            progress=at.progress,
        )

    return Stage("modules", inputs, make)
