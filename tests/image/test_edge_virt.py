"""The image of images/edge-virt.yaml, read without booting it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from hatfleet.common.paths import cache_dir
from hatfleet.common.site import Site
from hatfleet.image.build import store
from hatfleet.image.disk import MIB
from hatfleet.image.identity import Identity
from hatfleet.image.recipe import find_recipe, load_recipe
from hatfleet.image.stages import DISK_SHA256, Stage, Workplace, plan
from hatfleet.image.store import Store
from tests.unit.test_image_initramfs import read_archive

pytestmark = pytest.mark.image

BOOT_OFFSET = 8 * MIB
SYSTEM_OFFSET = BOOT_OFFSET + 128 * MIB

#: The partition table as it must stay: devices in the field are updated by these numbers.
GOLDEN_TABLE = [
    {"start": 16384, "size": 262144, "type": "c", "bootable": True},
    {"start": 278528, "size": 2097152, "type": "83", "bootable": False},
]


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def manifest(edge_virt_image: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((edge_virt_image.parent / "manifest.json").read_text())
    return found


@pytest.fixture(scope="module")
def boot(edge_virt_image: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        command = ["mtype", "-i", f"{edge_virt_image}@@{BOOT_OFFSET}", f"::/{name}"]
        return subprocess.run(command, capture_output=True, check=True).stdout

    return read


@pytest.fixture(scope="module")
def system(edge_virt_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Run a debugfs command on the system partition."""
    partition = tmp_path_factory.mktemp("system") / "ext4"
    copy = ["dd", f"if={edge_virt_image}", f"of={partition}", "bs=1M", f"skip={SYSTEM_OFFSET // MIB}", "conv=sparse"]
    subprocess.run(copy, check=True, capture_output=True)

    def debugfs(request: str) -> str:
        return output("/usr/sbin/debugfs", "-R", request, partition)

    debugfs.partition = partition  # type: ignore[attr-defined]
    return debugfs


def names(system: Callable[[str], str], folder: str) -> set[str]:
    return {line.split("/")[5] for line in system(f"ls -p {folder}").splitlines() if line.count("/") > 5} - {".", ".."}


def test_the_partition_table_is_the_golden_one(edge_virt_image: Path) -> None:
    table = json.loads(output("/usr/sbin/sfdisk", "--json", edge_virt_image))["partitiontable"]
    wanted = ("start", "size", "type")
    found = [{**{key: p[key] for key in wanted}, "bootable": p.get("bootable", False)} for p in table["partitions"]]
    assert found == GOLDEN_TABLE
    assert int(table["id"], 16) == Identity.of("edge-virt").disk_id


def test_the_manifest_tells_the_truth(edge_virt_image: Path, manifest: dict[str, object], boot: Callable) -> None:
    with edge_virt_image.open("rb") as handle:
        assert manifest["sha256"] == hashlib.file_digest(handle, "sha256").hexdigest()
    assert manifest["image"] == edge_virt_image.name
    assert manifest["kernel_command_line"] == boot("cmdline.txt").decode().strip()
    assert manifest["size_bytes"] == edge_virt_image.stat().st_size
    assert (manifest["platform"], manifest["arch"], manifest["admin_user"]) == ("virt", "arm64", "admin")


def test_the_image_is_sparse(edge_virt_image: Path) -> None:
    status = edge_virt_image.stat()
    assert status.st_blocks * 512 < 0.8 * status.st_size


def test_the_boot_file_system_is_sound(edge_virt_image: Path, tmp_path: Path) -> None:
    with edge_virt_image.open("rb") as handle:
        handle.seek(BOOT_OFFSET)
        (tmp_path / "fat").write_bytes(handle.read(128 * MIB))
    output("/usr/sbin/fsck.vfat", "-n", tmp_path / "fat")


def test_the_boot_partition_boots_the_system_partition(boot: Callable[[str], bytes]) -> None:
    arguments = boot("cmdline.txt").decode()
    assert arguments.count("\n") == 1 and arguments.endswith("\n")
    assert f"root=PARTUUID={Identity.of('edge-virt').system_partuuid}" in arguments.split()
    assert "console=ttyAMA0" in arguments.split()
    assert boot("vmlinuz")[56:60] == b"ARM\x64"  # magic number of an arm64 Image, Documentation/arch/arm64/booting.rst


def test_the_initramfs_holds_what_it_needs_and_no_more(boot: Callable[[str], bytes]) -> None:
    data = boot("initrd.img")
    assert len(data) < 8 * MIB
    files = read_archive(data)
    assert {"init", "bin/sh", "bin/mount", "bin/run-init", "modules/order", "dev/console"} <= set(files)
    assert files["modules/order"][1].decode().split()[-1] == "virtio_blk.ko"
    assert not any("key" in name or "passwd" in name or "shadow" in name for name in files)


def test_the_system_file_system_is_sound(system: Callable[[str], str]) -> None:
    output("/usr/sbin/e2fsck", "-fn", system.partition)  # type: ignore[attr-defined]


def test_nobody_has_a_password(system: Callable[[str], str]) -> None:
    accounts = dict(line.split(":", 2)[:2] for line in system("cat /etc/shadow").splitlines())
    assert {"root", "admin"} <= set(accounts)
    assert all(re.match(r"[!*]", field) for field in accounts.values()), accounts


def test_nothing_is_the_same_on_two_devices(system: Callable[[str], str]) -> None:
    assert system("cat /etc/machine-id") == "uninitialized\n"
    assert not [name for name in names(system, "/etc/ssh") if name.startswith("ssh_host")]
    assert "random-seed" not in names(system, "/var/lib/systemd")
    assert ".ssh" not in names(system, "/root")


def test_nothing_of_the_builder_is_inside(system: Callable[[str], str]) -> None:
    assert system("cat /etc/hostname") == "edge-virt\n"
    assert names(system, "/boot/firmware") == set()
    assert names(system, "/tmp") == set()
    assert names(system, "/run") == set()
    assert "policy-rc.d" not in names(system, "/usr/sbin")
    assert "unsafe-io" not in system("cat /etc/dpkg/dpkg.cfg.d/99mmdebstrap")
    assert 'Fast link dest: "../run/systemd/resolve/stub-resolv.conf"' in system("stat /etc/resolv.conf")


def test_no_package_lists_and_no_logs(system: Callable[[str], str]) -> None:
    assert names(system, "/var/lib/apt/lists") == set()
    assert {"dpkg.log", "bootstrap.log", "alternatives.log"}.isdisjoint(names(system, "/var/log"))


def test_the_image_says_what_it_is(system: Callable[[str], str]) -> None:
    about = json.loads(system("cat /usr/lib/hatfleet/image.json"))
    assert about == {"name": "edge-virt", "version": "0.1.0", "platform": "virt"}
    assert {'IMAGE_ID="edge-virt"', 'IMAGE_VERSION="0.1.0"'} <= set(system("cat /usr/lib/os-release").splitlines())


def test_both_partitions_are_mounted_by_the_disk_they_are_on(system: Callable[[str], str]) -> None:
    identity = Identity.of("edge-virt")
    lines = [line.split() for line in system("cat /etc/fstab").splitlines() if not line.startswith("#")]
    assert [(line[0], line[1]) for line in lines] == [
        (f"PARTUUID={identity.system_partuuid}", "/"),
        (f"PARTUUID={identity.boot_partuuid}", "/boot/firmware"),
    ]
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[1][3].split(","))


def test_the_lab_may_log_in_as_the_admin_only(system: Callable[[str], str]) -> None:
    assert "hatfleet-lab" in system("cat /home/admin/.ssh/authorized_keys")


def test_made_again_it_is_the_same_to_the_byte(
    manifest: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages after the roles, a second time, elsewhere, later, under another umask and time zone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(cache_dir() / "tests"))  # the lab key that the image was built with
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    site = Site.find(Path(__file__).parent)
    recipe = load_recipe(site, find_recipe(site, "edge-virt"))
    again = Store(tmp_path / "stages")
    for stage in plan(recipe, site, again):
        final = again.path(stage.name, stage.key)
        if stage.name in ("bootstrap", "provision"):
            final.parent.mkdir(parents=True)
            final.symlink_to(store().path(stage.name, stage.key))
            continue
        before = os.umask(0o077)
        try:
            make = partial(_make, stage, tmp_path / "log")
            again.make(stage.name, stage.key, stage.inputs, "again", make)
        finally:
            os.umask(before)
    assert (final / DISK_SHA256).read_text().strip() == manifest["sha256"]


def _make(stage: Stage, log: Path, work: Path) -> None:
    stage.make(Workplace(work, log, lambda text: None))
