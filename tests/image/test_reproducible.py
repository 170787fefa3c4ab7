"""The same packages give the same image, to the byte: made again elsewhere, and by somebody who is not root."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from hatfleet.common.paths import cache_dir
from hatfleet.common.site import Site
from hatfleet.image import lock
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.build import store
from hatfleet.image.machine import host_arch
from hatfleet.image.packages import read_contents
from hatfleet.image.recipe import load_recipe
from hatfleet.image.release.manifest import MANIFEST, Manifest, load_manifest
from hatfleet.image.stage import Stage, Workplace
from hatfleet.image.stagemaker import DISK_IMAGE, DISK_SHA256
from hatfleet.image.stages import Plan, plan
from hatfleet.image.store import Store
from hatfleet.image.system import SYSTEM_IMAGE
from hatfleet.image.userns import NAMESPACES
from hatfleet.image.wanted import wanted_packages
from tests.conftest import ROOT, STATE
from tests.image.tiny import copy_output

pytestmark = pytest.mark.image

#: What a builder's site and program consist of.
FOLDERS = ("deploys", "hatfleet", "hatserve", "images", "inventory", "keys", "roles", "runtimes")

#: Where to look first when two images differ: the outputs that go into the disk, in the order in which they are made.
OUTPUTS = (
    ("bootstrap", ARCHIVE),
    ("provision", ARCHIVE),
    ("initramfs", "boot/initrd.img"),
    ("environment-hatserve", ARCHIVE),
    ("system", SYSTEM_IMAGE),
    ("boot", "boot.vfat"),
    ("disk", DISK_IMAGE),
)


def digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def differing_outputs(one: Plan, other: Plan) -> Iterator[str]:
    """Say of every stage whose output differs where it does: the first one is not always the cause."""
    for stage, file in OUTPUTS:
        ours, theirs = one.folder(stage) / file, other.folder(stage) / file
        if digest(ours) != digest(theirs):
            yield f"{stage}: {file}"
            yield from (f"    {line}" for line in (differences(ours, theirs) if file == ARCHIVE else []))


def differences(one: Path, other: Path) -> list[str]:
    """Name the first entries in which two archives differ, and the fields."""
    contents = []
    for archive in (one, other):
        with tarfile.open(archive) as entries:
            found = {}
            for entry in entries:
                about = {
                    name: getattr(entry, name) for name in ("type", "mode", "uid", "gid", "size", "mtime", "linkname")
                }
                about["pax headers"] = entry.pax_headers
                if entry.isreg() and (handle := entries.extractfile(entry)):
                    about["sha256"] = hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]
                found[entry.name] = about
            contents.append(found)
    ours, theirs = contents
    if ours == theirs:
        return ["(only the order of entries, or padding)"]
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return [f"{name} {_fields(ours.get(name), theirs.get(name))}" for name in names[:20]]


def _fields(one: dict[str, object] | None, other: dict[str, object] | None) -> str:
    if one is None or other is None:
        return "only in one"
    return ", ".join(
        f"{key}: {one.get(key)} / {other.get(key)}" for key in {**one, **other} if one.get(key) != other.get(key)
    )


def test_made_again_it_is_the_same_to_the_byte(
    planned: Plan, manifest: Manifest, tests_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages after the roles, a second time, elsewhere, later, under another umask, language and time zone."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    site = Site.find(ROOT)
    recipe = load_recipe(site, ROOT / "images" / "edge-virt.yaml")
    again = plan(recipe, site, Store(tmp_path / "stages"), lock.read_lock(recipe.file))
    for stage in again.stages:
        final = again.folder(stage.name)
        if stage.name in ("tools", "packages", "bootstrap", "provision"):
            final.parent.mkdir(parents=True)
            final.symlink_to(store().path(stage.name, stage.key))
            continue
        before = os.umask(0o077)
        try:
            again.store.make(stage.name, stage.key, stage.inputs, "again", partial(_make, stage, tmp_path / "log"))
        finally:
            os.umask(before)
    assert (again.folder("disk") / DISK_SHA256).read_text().strip() == manifest.sha256
    made = {path.name: digest(path) for path in again.folder("release").iterdir() if path.name in manifest.artefacts}
    assert made == {name: manifest.artefacts[name].sha256 for name in made}
    assert len(made) == 5  # compressed image, block map, two bills of materials, list of files


def _make(stage: Stage, log: Path, work: Path) -> None:
    stage.make(Workplace(work, log, lambda text: None))


@dataclass(frozen=True)
class Builder:
    """Somebody who is not root, and has nothing but a home and subordinate ids."""

    name: str
    uid: int
    gid: int
    home: Path

    def command(self, *argv: str | Path) -> list[str | Path]:
        """Return a command as this user runs it."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]
        return [*become, "env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", f"HOME={self.home}", *argv]


@pytest.fixture
def builder() -> Iterator[Builder]:
    """A user made for this test, with a range of subordinate ids as every new user of Debian gets."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a user who builds without root")
    name = f"hatfleet-{os.getpid()}"
    run = partial(subprocess.run, check=True, capture_output=True)
    run(["useradd", "--create-home", "--home-dir", f"/home/{name}", "--shell", "/bin/sh", name])
    try:
        uid, gid = (int(run(["id", option, name]).stdout) for option in ("-u", "-g"))
        made = Builder(name, uid, gid, Path("/home") / name)
        if not any(line.startswith(f"{name}:") for line in Path("/etc/subuid").read_text().splitlines()):
            pytest.skip("new users get no subordinate ids on this machine: see /etc/subuid, /etc/login.defs")
        trial = subprocess.run(
            made.command("unshare", *NAMESPACES, sys.executable, "--version"),
            capture_output=True,
            text=True,
            check=False,
        )
        if trial.returncode != 0:
            pytest.skip(f"ordinary users can make no user namespace here, or not reach Python: {trial.stderr}")
        yield made
    finally:
        run(["userdel", "--remove", name])


@pytest.mark.rootless
def test_without_root_the_same_image_comes_out(
    builder: Builder, planned: Plan, manifest: Manifest, tests_state: Path, tmp_path: Path
) -> None:
    """THE MOST EXPENSIVE TEST, ten minutes: everything after the download, under another name, clock and processor.

    The other builder has the packages and, by a lock, knows that they are the right ones.
    """
    home = builder.home
    for name in FOLDERS:
        shutil.copytree(ROOT / name, home / "site" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(cache_dir() / "wheels", home / "cache" / "hatfleet" / "wheels")
    key = home / "state" / "hatfleet" / "lab" / "id_ed25519"
    key.parent.mkdir(parents=True)
    shutil.copy2(STATE / "hatfleet" / "lab" / "id_ed25519", key)
    site = Site(home / "site")
    recipe = load_recipe(site, home / "site" / "images" / "edge-virt.yaml")
    locked = lock.Lock(
        suite=recipe.suite.name,
        arch=recipe.platform.arch,
        wanted=wanted_packages(recipe, site),
        packages=lock.locked(read_contents(planned.folder("packages"))),
        tools_arch=host_arch(),
        tools=lock.locked(read_contents(planned.folder("tools"))),
    )
    lock.write_lock(recipe.file, locked)
    theirs = plan(recipe, site, Store(home / "cache" / "hatfleet" / "stages"), locked)
    for stage in theirs.stages[:2]:
        theirs.store.make(
            stage.name, stage.key, stage.inputs, recipe.name, partial(copy_output, planned.folder(stage.name))
        )
    subprocess.run(["chown", "-hR", f"{builder.uid}:{builder.gid}", home], check=True)

    variables = {
        "PYTHONPATH": home / "site",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_STATE_HOME": home / "state",
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "COLUMNS": "160",
    }
    program = [sys.executable, "-P", "-m", "hatfleet.entry", "image", "build", "edge-virt", "-o", home / "elsewhere"]
    command = builder.command(*(f"{name}={value}" for name, value in variables.items()), *map(str, program))
    # One processor, another host name, and files that others may not read.
    surroundings = ["unshare", "--uts", "sh", "-c", 'hostname another-builder; umask 077; exec "$@"', "sh"]
    done = subprocess.run(
        [*surroundings, "taskset", "--cpu-list", "0", *command],
        cwd=home / "site" / "images",
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cached") == 2, done.stderr

    release = home / "elsewhere" / "edge-virt"
    found = load_manifest(release / MANIFEST)
    assert found.sha256 == digest(release / manifest.image)
    if found.sha256 != manifest.sha256:
        pytest.fail("another image came out\n" + "\n".join(differing_outputs(planned, theirs)))
    same = {name: entry.sha256 for name, entry in manifest.artefacts.items() if not name.endswith(".provenance.json")}
    same.pop("os-list.json")  # it has the day of the build
    assert {name: found.artefacts[name].sha256 for name in same} == same
    assert {path.owner() for path in release.iterdir()} == {builder.name}
