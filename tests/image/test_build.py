"""Builds as a user runs them: from the cache, at the same time, killed, without room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from tests.conftest import ROOT, Provision

pytestmark = pytest.mark.image

RECIPE = """\
name: tiny
version: "1"
platform: virt
suite: trixie
roles: []
layout:
  boot_mib: {boot}
  system_mib: {system}
"""


def write_recipe(folder: Path, *, boot: int = 64, system: int = 1024) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(boot=boot, system=system))
    return path


def processes_of(path: Path) -> list[str]:
    """Commands of all processes that have the path in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            about = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(path).encode() in about and int(entry.name) != os.getpid():
            found.append((entry / "comm").read_text().strip())
    return found


def is_installing(cache: Path) -> bool:
    """Whether a build of the recipe tiny has come as far as having the package manager at work."""
    log = cache / "hatfleet" / "logs" / "tiny-bootstrap.log"
    return log.is_file() and "running apt-get update" in log.read_text() and "apt-get" in processes_of(cache)


def wait_until(condition: object, limit_s: float = 60) -> None:
    assert callable(condition)
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.1)


def start(recipe: Path, cache: Path, out: Path, **variables: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "provision"), "image", "build", str(recipe), "-o", str(out)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), **variables}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def test_a_second_build_runs_no_stage(edge_virt_image: Path, provision: Provision) -> None:
    before = edge_virt_image.stat().st_mtime_ns
    done = provision("image", "build", "edge-virt", "-o", str(edge_virt_image.parents[1]))
    assert done.stderr.count("cached") == 6
    assert done.stdout.strip() == str(edge_virt_image)
    assert edge_virt_image.stat().st_mtime_ns == before
    stages = json.loads(provision("image", "stages", "edge-virt", "--json").stdout)
    assert [stage["cached"] for stage in stages] == [True] * 6


def test_a_removed_image_comes_back_from_the_cache(edge_virt_image: Path, provision: Provision, tmp_path: Path) -> None:
    done = provision("image", "build", "edge-virt", "-o", str(tmp_path))
    assert done.stderr.count("cached") == 6
    again = tmp_path / "edge-virt" / edge_virt_image.name
    assert again.read_bytes() == edge_virt_image.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edge-virt"]


def test_a_build_at_the_same_time_waits_and_says_for_whom(edge_virt_image: Path) -> None:
    with file_lock(cache_dir() / "locks" / "image-edge-virt", "the test"):
        second = start(ROOT / "images" / "edge-virt.yaml", cache_dir().parent, edge_virt_image.parents[1])
        assert second.stderr is not None
        line = second.stderr.readline().decode()
        assert f"waiting for image edge-virt: in use by process {os.getpid()}" in line
        assert second.poll() is None
    # The state directory of this build is the user's own, so that it may have a stage to run; it need not end.
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=60)


def test_a_build_that_is_killed_while_it_installs_packages_leaves_nothing_running(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build = start(write_recipe(tmp_path), cache, tmp_path / "out")
    try:
        wait_until(lambda: is_installing(cache))
    finally:
        build.send_signal(signal.SIGKILL)
        build.communicate()
    wait_until(lambda: not processes_of(cache), 20)
    assert str(cache) not in Path("/proc/mounts").read_text()
    assert not list((cache / "hatfleet" / "stages" / "bootstrap").glob("[!.]*"))


def test_ctrl_c_ends_a_build_cleanly(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build = start(write_recipe(tmp_path), cache, tmp_path / "out")
    try:
        wait_until(lambda: is_installing(cache))
        build.send_signal(signal.SIGINT)
        _, stderr = build.communicate(timeout=60)
    finally:
        build.kill()
    assert build.returncode == 130, stderr
    assert b"Traceback" not in stderr
    wait_until(lambda: not processes_of(cache), 20)
    assert list((cache / "hatfleet" / "stages" / "bootstrap").iterdir()) == []


def test_a_build_killed_in_its_middle_is_followed_by_a_good_one(
    bootstrap_archive: Path, provision: Provision, tmp_path: Path
) -> None:
    """A stage is killed while it works in the emulated root; the next build starts from what was complete."""
    cache = tmp_path / "cache"
    recipe = write_recipe(tmp_path)
    _seed_bootstrap(recipe, cache, bootstrap_archive)
    build = start(recipe, cache, tmp_path / "out")
    try:
        wait_until(lambda: list((cache / "hatfleet" / "stages").glob("provision/.work-*/root/etc")), 120)
    finally:
        build.send_signal(signal.SIGKILL)
        build.communicate()
    wait_until(lambda: not processes_of(cache), 20)
    assert str(cache) not in Path("/proc/mounts").read_text()

    again = start(recipe, cache, tmp_path / "out")
    _, stderr = again.communicate(timeout=600)
    assert again.returncode == 0, stderr.decode()
    assert b"bootstrap" in stderr and b"cached" in stderr
    assert not list((cache / "hatfleet" / "stages").glob("*/.work-*"))
    image = tmp_path / "out" / "tiny" / "tiny-1.img"
    assert json.loads(image.with_name("manifest.json").read_text())["size_bytes"] == image.stat().st_size

    # A partition too small for what is known by now: refused, with the line and how much is missing.
    small = start(write_recipe(tmp_path, boot=34, system=1024), cache, tmp_path / "out")
    _, stderr = small.communicate(timeout=600)
    assert small.returncode == 2, stderr.decode()
    message = " ".join(stderr.decode().split())
    assert "tiny.yaml:7 at layout.boot_mib: the partition of 34 MiB is" in message
    assert "MiB too small" in message
    assert json.loads(image.with_name("manifest.json").read_text())["layout_mib"]["boot_mib"] == 64


def test_a_failing_stage_names_its_log(tmp_path: Path) -> None:
    """Nothing listens on port 9: the package lists cannot be fetched."""
    build = start(write_recipe(tmp_path), tmp_path / "cache", tmp_path / "out", http_proxy="http://127.0.0.1:9")
    _, stderr = build.communicate(timeout=300)
    assert build.returncode == 1, stderr.decode()
    words = " ".join(stderr.decode().split())
    log = tmp_path / "cache" / "hatfleet" / "logs" / "tiny-bootstrap.log"
    assert f"the whole output: {log}" in words
    assert "127.0.0.1" in log.read_text()
    assert not (tmp_path / "out" / "tiny").exists()


def _seed_bootstrap(recipe: Path, cache: Path, archive: Path) -> None:
    """Put packages that are there already in place of a stage that would take minutes."""
    from hatfleet.common.site import Site
    from hatfleet.image.recipe import load_recipe
    from hatfleet.image.stages import plan
    from hatfleet.image.store import Store

    site = Site.find(ROOT)
    store = Store(cache / "hatfleet" / "stages")
    first = plan(load_recipe(site, recipe), site, store)[0]
    store.make(first.name, first.key, first.inputs, "tiny", lambda work: (work / archive.name).symlink_to(archive))
