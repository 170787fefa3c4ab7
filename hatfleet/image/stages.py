"""The stages of a build: what goes into each, and so whether its output can be used again.

```
tools     packages
  │         └─ bootstrap ─┬─ initramfs ───────────┐
  └─ environment ─────────┴─ provision ── system ─┴─ boot ── disk ── release
                                 └─ checks
```

Where a role wants a driver compiled, ``toolchain`` and ``modules`` come before provision (see modulestage.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.site import Site
from hatfleet.image import lock
from hatfleet.image.bootstage import BOOT_IMAGE, BOOTCFG_IMAGE
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.identity import Identity
from hatfleet.image.modulestage import modules_stage, toolchain_stage
from hatfleet.image.recipe import Recipe
from hatfleet.image.releasestage import Sources, make_release
from hatfleet.image.stage import Stage, Workplace, code
from hatfleet.image.stagemaker import DISK_IMAGE, StageMaker
from hatfleet.image.store import Store
from hatfleet.image.system import SYSTEM_IMAGE
from hatfleet.image.tools import TREE, Tools, TreeTools
from hatfleet.image.wanted import toolchain_packages, wanted_drivers, wanted_environments, wanted_packages


@dataclass(frozen=True)
class Plan:
    """All stages of a build, in the order in which they run, and where their outputs lie."""

    stages: tuple[Stage, ...]
    store: Store

    def folder(self, name: str) -> Path:
        """Where a stage's output lies, or will lie."""
        stage = next(stage for stage in self.stages if stage.name == name)
        return self.store.path(stage.name, stage.key)

    def has(self, name: str) -> bool:
        """Whether there is a stage of that name; ``toolchain`` and ``modules`` are not in every plan."""
        return any(stage.name == name for stage in self.stages)

    def key(self, name: str) -> str:
        """Key of a stage's output."""
        return next(stage for stage in self.stages if stage.name == name).key

    @property
    def tools(self) -> Tools:
        """The programs of the tools tree; there once its stage is done."""
        return TreeTools(self.folder("tools") / TREE)


def plan(recipe: Recipe, site: Site, store: Store, locked: lock.Lock | None) -> Plan:
    """Return the stages of a recipe in the order in which they run.

    Keys follow from keys, so that the whole plan is known before anything is made.

    Args:
        recipe: What to build.
        site: Where its roles are.
        store: Where outputs lie.
        locked: The recipe's lock, if it has one.

    Raises:
        InputError: a role does not load, or the lock does not fit the recipe.
    """
    builder = StageMaker(recipe, site, store, locked)
    wanted, drivers = wanted_packages(recipe, site), wanted_drivers(recipe, site)
    if locked:
        asked = (*wanted, *toolchain_packages(drivers))
        lock.require_current(locked, recipe.file, suite=recipe.suite.name, arch=recipe.platform.arch, wanted=asked)
    tools = builder.tools()
    packages = builder.packages(wanted)
    bootstrapped = builder.bootstrap(packages, wanted)
    compiled: tuple[Stage, ...] = ()
    if drivers:
        toolchain = toolchain_stage(recipe, drivers, locked, packages, fetched=builder.folder(packages))
        made = modules_stage(recipe, drivers, bootstrapped, toolchain, folder=builder.folder)
        compiled = (toolchain, made)
    kernel = builder.initramfs(bootstrapped)
    environments = builder.environments(tools, wanted_environments(recipe, site))
    provisioned = builder.provision(tools, bootstrapped, environments, compiled, drivers)
    checked = builder.checks(tools, provisioned)
    system = builder.system(tools, provisioned)
    boot = builder.boot(tools, kernel, provisioned, system)
    whole = builder.disk(boot, system)
    before = (tools, packages, bootstrapped, *compiled, kernel, *environments.values())
    first = Plan((*before, provisioned, checked, system, boot, whole), store)
    return Plan((*first.stages, _release(recipe, first)), store)


def release_sources(planned: Plan) -> Sources:
    """Return where the outputs are that a release is made from."""
    boot = planned.folder("boot")
    return Sources(
        disk=planned.folder("disk") / DISK_IMAGE,
        system=planned.folder("system") / SYSTEM_IMAGE,
        boot=boot / BOOT_IMAGE,
        bootcfg=boot / BOOTCFG_IMAGE,
        rootfs=planned.folder("provision") / ARCHIVE,
    )


def _release(recipe: Recipe, others: Plan) -> Stage:
    """What is published: the disk compressed, and what says what it is."""
    layout = recipe.layout.place(Identity.of(recipe.name).disk)
    names = ("tools", "provision", "system", "boot", "disk")
    inputs = {
        "name": recipe.name,
        "version": recipe.version,
        **{f"stage {name}": others.key(name) for name in names},
        "hatfleet code": code("releasestage", "bmap", "inspect/files", "release", "tools"),
    }

    def make(at: Workplace) -> None:
        at.progress("compression, block map, bills of materials")
        sources = release_sources(others)
        make_release(at.folder, recipe=recipe, layout=layout, sources=sources, tools=others.tools, log=at.log)

    return Stage("release", inputs, make)
