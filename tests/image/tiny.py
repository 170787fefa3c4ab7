"""A tiny recipe, and builds of it that start from stages that are there already: what builds are interrupted with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hatfleet.common.site import Site
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.recipe import load_recipe
from hatfleet.image.stages import Plan, plan
from hatfleet.image.store import RECORD, Store
from tests.conftest import ROOT

#: Without the role harden Debian's programs keep the rights of others, which the gate does not let pass unnamed.
RECIPE = """\
name: tiny
version: "1"
platform: virt
suite: trixie
roles: [{role}]
layout:
  boot_mib: {boot}
  system_mib: 192
  data_mib: 16
  table: {table}
allow:
  setuid:
    - /usr/bin/chage
    - /usr/bin/chfn
    - /usr/bin/chsh
    - /usr/bin/expiry
    - /usr/bin/gpasswd
    - /usr/bin/mount
    - /usr/bin/newgrp
    - /usr/bin/passwd
    - /usr/bin/ssh-agent
    - /usr/bin/su
    - /usr/bin/umount
    - /usr/lib/openssh/ssh-keysign
"""


@dataclass(frozen=True)
class Tiny:
    """A recipe in a folder of its own, with a cache and a place for the image."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def release(self) -> Path:
        return self.out / "tiny"

    @property
    def stages(self) -> Path:
        return self.cache / "hatfleet" / "stages"

    def write(self, *, boot: int = 64, table: str = "mbr", removed: str | None = None, role: str = "") -> None:
        """Write the recipe; ``removed`` is a unit that the image must not have, ``role`` its one role."""
        remove = f"  remove:\n    units: [{removed}]\n" if removed else ""
        self.recipe.write_text(RECIPE.format(boot=boot, table=table, role=role) + remove)

    def log(self, stage: str) -> Path:
        return self.cache / "hatfleet" / "logs" / f"tiny-{stage}.log"

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        return start(self.recipe, self.cache, self.out, site=self.folder, **variables)

    def build(self, *, expect: int = 0, **variables: str) -> str:
        """Build it to the end, and return what it said, as words with one blank between."""
        with self.start(**variables) as build:
            _, stderr = build.communicate(timeout=900)
        said = stderr.decode()
        assert "Traceback" not in said, said
        assert build.returncode == expect, said
        return " ".join(said.split())

    @property
    def site(self) -> Site:
        """Where it finds roles beside those of the package."""
        return Site(self.folder)

    def plan(self) -> Plan:
        site = self.site
        return plan(load_recipe(site, self.recipe), site, Store(self.stages), None)

    def outputs(self, stage: str) -> list[Path]:
        """Everything that lies where finished outputs of a stage do."""
        return list((self.stages / stage).glob("[!.]*"))

    def seed(self, source: Plan, *names: str) -> None:
        """Put outputs of another build in place of stages that would take minutes."""
        for stage in self.plan().stages:
            if stage.name in names and not self.plan().store.has(stage.name, stage.key):
                make = partial(_link_archive if stage.name == "bootstrap" else copy_output, source.folder(stage.name))
                self.plan().store.make(stage.name, stage.key, stage.inputs, "tiny", make)


def start(recipe: Path, cache: Path, out: Path, site: Path = ROOT, **variables: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "provision"), "image", "build", str(recipe), "-o", str(out)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "COLUMNS": "160", **variables}
    return subprocess.Popen(command, cwd=site, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def copy_output(origin: Path, to: Path) -> None:
    """Copy a finished output into a folder, but for its record."""
    subprocess.run(["cp", "-a", "--reflink=auto", f"{origin}/.", to], check=True)
    (to / RECORD).unlink()


def processes_of(path: Path) -> list[str]:
    """Names of all processes that have the path in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        if str(path).encode() in about and int(entry.name) != os.getpid():
            found.append(name)
    return found


def wait_until(condition: Callable[[], object], limit_s: float = 60) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.1)


def nothing_is_left_of(tiny: Tiny) -> None:
    """Wait for the end of what a build started, and check that it mounted nothing that stays."""
    wait_until(lambda: not processes_of(tiny.cache), 20)
    assert str(tiny.cache) not in Path("/proc/mounts").read_text()


def _link_archive(origin: Path, to: Path) -> None:
    (to / ARCHIVE).symlink_to(origin / ARCHIVE)
