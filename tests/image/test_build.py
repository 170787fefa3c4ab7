"""Builds as a user runs them: from the cache, at the same time, killed, damaged, refused, without room or network."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.image.release.manifest import MANIFEST
from hatfleet.image.stages import Plan
from tests.conftest import ROOT, Provision
from tests.image.tiny import Tiny, nothing_is_left_of, start, wait_until
from tests.unit.compliance_site import write_role
from tests.unit.disk_images import damage, tool

pytestmark = pytest.mark.image

STAGES = ["tools", "packages", "bootstrap", "initramfs", "provision", "checks", "system", "boot", "disk", "release"]

#: Of an image with the role runtimes.
EDGE_STAGES = [*STAGES[:4], "environment-hatserve", *STAGES[4:]]

FETCHED = ("tools", "packages")
INSTALLED = (*FETCHED, "bootstrap")


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    made = Tiny(tmp_path)
    made.write()
    return made


@pytest.fixture(scope="module")
def built(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny image that was built, after a first attempt was killed at work in the emulated root."""
    made = Tiny(tmp_path_factory.mktemp("tiny"))
    made.write()
    made.seed(planned, *INSTALLED)
    build = made.start()
    try:
        wait_until(lambda: list(made.stages.glob("provision/.work-*/root/etc")), 120)
    finally:
        build.kill()
        build.communicate()
    nothing_is_left_of(made)
    assert made.outputs("provision") == []
    assert not made.release.exists()
    assert ran(made.build()) == [name for name in STAGES if name not in (*INSTALLED, "initramfs")]
    return made


def ran(said: str) -> list[str]:
    """Names of the stages that were made and not taken from the cache: their sizes are told."""
    return re.findall(r"✓ (\w+) [0-9.]+ s [0-9]+ MiB", said)


def test_a_second_build_runs_no_stage_and_leaves_the_release_as_it_is(
    edge_virt_image: Path, provision: Provision
) -> None:
    before = {path.name: path.stat() for path in edge_virt_image.parent.iterdir()}
    done = provision("image", "build", "edge-virt", "-o", str(edge_virt_image.parents[1]))
    assert done.stderr.count("cached") == len(EDGE_STAGES)
    assert "up to date" in done.stderr
    assert done.stdout.strip() == str(edge_virt_image)
    after = {path.name: path.stat() for path in edge_virt_image.parent.iterdir()}
    assert {name: (one.st_ino, one.st_mtime_ns) for name, one in after.items()} == {
        name: (one.st_ino, one.st_mtime_ns) for name, one in before.items()
    }
    stages = json.loads(provision("image", "stages", "edge-virt", "--json").stdout)
    assert [(stage["name"], stage["cached"]) for stage in stages] == [(name, True) for name in EDGE_STAGES]


def test_a_removed_image_comes_back_from_the_cache(edge_virt_image: Path, provision: Provision, tmp_path: Path) -> None:
    done = provision("image", "build", "edge-virt", "-o", str(tmp_path))
    assert done.stderr.count("cached") == len(EDGE_STAGES)
    again = tmp_path / "edge-virt"
    tool("cmp", again / edge_virt_image.name, edge_virt_image)
    assert {path.name for path in again.iterdir()} == {path.name for path in edge_virt_image.parent.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["edge-virt"]


def test_a_build_at_the_same_time_waits_and_says_for_whom(edge_virt_image: Path) -> None:
    with file_lock(cache_dir() / "locks" / "image-edge-virt", "the test"):
        second = start(ROOT / "images" / "edge-virt.yaml", cache_dir().parent, edge_virt_image.parents[1])
        assert second.stderr is not None
        line = second.stderr.readline().decode()
        assert f"waiting for image edge-virt: in use by process {os.getpid()}" in line
        assert second.poll() is None
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=60)
        assert second.returncode == 130


@pytest.mark.parametrize(
    ("seeded", "stage", "sign"),
    [
        ((), "tools", "extracting archives"),
        (("tools",), "packages", "downloading packages"),
        (FETCHED, "bootstrap", "installing essential packages"),
    ],
)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_build_leaves_nothing_running_mounted_or_half_done(
    planned: Plan, tiny: Tiny, seeded: tuple[str, ...], stage: str, sign: str, end: signal.Signals
) -> None:
    tiny.seed(planned, *seeded)
    log = tiny.log(stage)
    build = tiny.start()
    try:
        wait_until(lambda: log.is_file() and sign in log.read_text(), 240)
        build.send_signal(end)
        _, stderr = build.communicate(timeout=60)
    finally:
        build.kill()
    nothing_is_left_of(tiny)
    assert tiny.outputs(stage) == []
    assert list(tiny.out.iterdir()) == []
    if end is signal.SIGINT:
        assert build.returncode == 130, stderr
        assert b"Traceback" not in stderr
        assert not list(tiny.stages.glob("*/.work-*"))


def test_after_a_killed_build_comes_a_good_one(built: Tiny, provision: Provision) -> None:
    assert not list(built.stages.glob("*/.work-*"))
    assert [path.name for path in built.out.iterdir()] == ["tiny"]
    provision("image", "verify", str(built.release))


def test_a_damaged_stage_output_is_noticed_and_made_again(built: Tiny) -> None:
    before = json.loads((built.release / MANIFEST).read_text())
    system = built.plan().folder("system") / "system.img"
    damage(system, 4096)
    assert ran(built.build()) == ["system"]
    assert json.loads((built.release / MANIFEST).read_text())["sha256"] == before["sha256"]
    assert built.plan().store.damage("system", built.plan().key("system"), thorough=True) is None


def test_a_partition_that_is_too_small_is_named_with_its_line_and_what_it_lacks(built: Tiny) -> None:
    before = (built.release / MANIFEST).read_bytes()
    built.write(boot=34)
    try:
        said = built.build(expect=2)
    finally:
        built.write()
    assert "tiny.yaml:7 at layout.boot_mib: the partition of 34 MiB is" in said
    assert "MiB too small" in said
    assert (built.release / MANIFEST).read_bytes() == before


def test_a_gpt_is_written_when_the_recipe_asks_for_it(built: Tiny, provision: Provision) -> None:
    built.write(table="gpt")
    try:
        built.build()
        image = built.release / "tiny-1.img"
        assert "No problems found" in tool("sgdisk", "--verify", image)
        table = json.loads(tool("sfdisk", "--json", image))["partitiontable"]
        assert table["label"] == "gpt"
        names = ["bootcfg", "boot_a", "boot_b", "system_a", "system_b", "data"]
        assert [one["name"] for one in table["partitions"]] == names
        systems = [one["uuid"].lower() for one in table["partitions"] if one["name"].startswith("system_")]
        line = json.loads((built.release / MANIFEST).read_text())["command_lines"]["a"]
        assert f"hatfleet.system={':'.join(systems)}" in line.split()
        provision("image", "verify", str(built.release))
    finally:
        built.write()


def test_a_refused_image_is_kept_under_a_name_that_says_so(built: Tiny) -> None:
    """Debian starts the weekly TRIM; this recipe says that it must not."""
    built.write(removed="fstrim.timer")
    before = (built.release / MANIFEST).read_bytes()
    try:
        said = built.build(expect=5)
    finally:
        built.write()
    assert "the image is refused" in said and "HF-IMG-013" in said and "fstrim.timer" in said
    kept = built.out / "tiny.rejected"
    assert str(kept) in said
    findings = json.loads((kept / "gate.json").read_text())["findings"]
    assert [(one["rule"], Path(one["path"]).name) for one in findings] == [("HF-IMG-013", "fstrim.timer")]
    assert (kept / "tiny-1.img").is_file()
    assert (built.release / MANIFEST).read_bytes() == before
    assert {path.name for path in built.out.iterdir()} == {"tiny", "tiny.rejected"}


def test_an_image_on_which_a_control_of_a_role_fails_is_refused(built: Tiny) -> None:
    checks = """
        @control("T-TINY-001", "There is a message of the day")
        def test_message(host):
            assert host.file("/etc/motd").content_string == "hello", "another message"
    """
    write_role(built.folder, "greets", checks)
    (built.folder / "roles/greets/__init__.py").write_text("def image(settings):\n    pass\n")
    built.write(role="greets")
    try:
        said = built.build(expect=5)
    finally:
        built.write()
    assert "the image is refused, 1 findings" in said
    assert "T-TINY-001 greets: There is a message of the day" in said and "another message" in said
    kept = built.out / "tiny.rejected"
    assert json.loads((kept / "checks.json").read_text())["outcome"] == "failed"
    assert (kept / "tiny-1.img").is_file()


def test_a_failing_stage_names_its_log(tiny: Tiny) -> None:
    """Nothing listens on port 9: the package lists cannot be fetched."""
    said = tiny.build(expect=1, http_proxy="http://127.0.0.1:9")
    assert f"the whole output: {tiny.log('tools')}" in said
    assert "127.0.0.1" in tiny.log("tools").read_text()
    assert not tiny.release.exists()
