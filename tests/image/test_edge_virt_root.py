"""The root file system of images/edge-virt.yaml, taken out of the image by fsck.erofs: what a device boots."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from hatfleet.image.recipe import Recipe
from hatfleet.image.release.manifest import Manifest
from tests.conftest import STATE

pytestmark = pytest.mark.image

DEVICE_STATE = Path("/var/lib/hatfleet/state")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nobody_has_a_password(sealed_root: Path) -> None:
    lines = (sealed_root / "etc/shadow").read_text().splitlines()
    accounts = {name: field for name, field, *_ in (line.split(":") for line in lines)}
    assert {"root", "admin"} <= set(accounts)
    groups = [line.split(":")[1] for line in (sealed_root / "etc/gshadow").read_text().splitlines()]
    # No account is without a lock, and behind no lock is a hash.
    assert {*accounts.values(), *groups} <= {"*", "!", "!*", "!!"}, (accounts, groups)


def test_no_account_tells_the_day_of_the_build(sealed_root: Path, recipe: Recipe) -> None:
    """The image would be another one tomorrow."""
    lines = (sealed_root / "etc/shadow").read_text().splitlines()
    days = {name: int(changed) for name, _, changed, *_ in (line.split(":") for line in lines)}
    assert set(days.values()) == {recipe.suite.epoch_s // 86400}, days


def test_nothing_is_the_same_on_two_devices(sealed_root: Path) -> None:
    assert (sealed_root / "etc/machine-id").read_text() == "uninitialized\n"
    host_keys = list((sealed_root / "etc/ssh").glob("ssh_host_*"))
    assert host_keys, "the role base makes one at the first boot, and declares where"
    for path in host_keys:
        assert path.is_symlink() and path.readlink() == DEVICE_STATE / "etc/ssh" / path.name
    files = {path.relative_to(sealed_root) for path in sealed_root.rglob("*") if not path.is_symlink()}
    found = {path for path in files if re.fullmatch("random-seed|credential.secret|ssh_host_.*_key.*", path.name)}
    assert found == set()
    assert [path for path in files if path.name == "machine-id"] == [Path("etc/machine-id")]


def test_what_belongs_to_the_device_is_a_link_into_its_state(sealed_root: Path) -> None:
    declared = (sealed_root / "usr/lib/hatfleet/state.list").read_text().split()
    assert {"/etc/hostname", "/etc/hosts", "/etc/ssh/ssh_host_ed25519_key"} <= set(declared)
    for path in declared:
        assert (sealed_root / path.lstrip("/")).readlink() == DEVICE_STATE / path.lstrip("/")
    links = [path for path in (sealed_root / "etc").rglob("*") if path.is_symlink()]
    into_state = {str(path.readlink().relative_to(DEVICE_STATE)) for path in links if DEVICE_STATE in _above(path)}
    assert {f"/{path}" for path in into_state} == set(declared)


def test_var_is_empty_and_the_package_database_belongs_to_the_image(sealed_root: Path, manifest: Manifest) -> None:
    assert names(sealed_root / "var") == set()
    factory = sealed_root / "usr/share/factory/var"
    assert (factory / "lib/dpkg").readlink() == Path("/usr/lib/hatfleet/dpkg")
    database = sealed_root / "usr/lib/hatfleet/dpkg"
    query = ["dpkg-query", f"--admindir={database}", "--show"]
    query += ["--showformat=${Package} ${Version} ${Architecture} ${db:Status-Status}\n"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(said) == sorted(f"{one.name} {one.version} {one.arch} installed" for one in manifest.packages)


def test_nothing_of_the_builder_is_inside(sealed_root: Path) -> None:
    assert (sealed_root / "usr/share/factory/state/etc/hostname").read_text() == "edge-virt\n"
    for folder in ("boot/firmware", "dev", "proc", "run", "sys", "tmp", "usr/share/factory/var/tmp"):
        assert names(sealed_root / folder) == set(), folder
    assert not (sealed_root / "usr/sbin/policy-rc.d").exists()
    assert not (sealed_root / "root/.ssh").exists()
    configured = [path.read_text() for path in (sealed_root / "etc/dpkg/dpkg.cfg.d").iterdir()]
    assert "path-exclude" in "".join(configured) and "unsafe-io" not in "".join(configured)
    assert (sealed_root / "etc/resolv.conf").readlink() == Path("../run/systemd/resolve/stub-resolv.conf")
    sources = (sealed_root / "etc/apt/sources.list").read_text()
    assert "trusted=yes" not in sources and "file:" not in sources


def test_no_folder_is_named_as_on_the_machine_that_built_it(sealed_root: Path) -> None:
    """A build's cache is below somebody's home, or wherever its owner put it: its path is a key of the build."""
    assert names(sealed_root / "root") == {".bashrc", ".profile"}
    assert names(sealed_root / "home") == {"admin"}
    paths = {str(path.relative_to(sealed_root)) for path in sealed_root.rglob("*") if path.is_dir()}
    assert not [path for path in paths if "stages/" in path or path.endswith("/repository")]


def test_no_file_names_the_machine_that_built_it(sealed_root: Path) -> None:
    words = [str(STATE.parent), "/stages/", ".work-edge-virt"]
    if len(socket.gethostname()) > 6:  # a shorter one may be a word
        words.append(socket.gethostname())
    patterns = [argument for word in words for argument in ("-e", word)]
    found = subprocess.run(
        ["grep", "-rlaF", *patterns, sealed_root / "etc", sealed_root / "usr/lib/hatfleet", sealed_root / "usr/share"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""


def test_no_package_lists_and_no_logs(sealed_root: Path) -> None:
    factory = sealed_root / "usr/share/factory/var"
    for folder in ("lib/apt", "cache/apt", "backups"):
        assert not [path for path in (factory / folder).rglob("*") if path.is_file()], folder
    assert not [path for path in (factory / "log").rglob("*") if path.is_file()]


def test_every_file_has_the_same_time(sealed_root: Path) -> None:
    times = {path.lstat().st_mtime for path in sealed_root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert len(times) == 1


def test_the_image_says_what_it_is(sealed_root: Path, manifest: Manifest) -> None:
    about = json.loads((sealed_root / "usr/lib/hatfleet/image.json").read_text())
    assert about == {"name": "edge-virt", "version": manifest.version, "platform": "virt"}
    lines = (sealed_root / "usr/lib/os-release").read_text().splitlines()
    assert {'IMAGE_ID="edge-virt"', f'IMAGE_VERSION="{manifest.version}"'} <= set(lines)


def test_nothing_is_mounted_by_fstab(sealed_root: Path) -> None:
    lines = (sealed_root / "etc/fstab").read_text().splitlines()
    assert [line for line in lines if line.strip() and not line.startswith("#")] == []


def test_the_device_knows_its_partitions(sealed_root: Path, manifest: Manifest) -> None:
    partuuid = {one.name: one.partuuid for one in manifest.layout.partitions}
    layout = (sealed_root / "usr/lib/hatfleet/layout").read_text().splitlines()
    assert {f"data_partuuid={partuuid['data']}", f"bootcfg_partuuid={partuuid['bootcfg']}"} <= set(layout)
    rules = (sealed_root / "usr/lib/udev/rules.d/80-hatfleet-slots.rules").read_text()
    assert all(value in rules for value in partuuid.values())


def test_the_lab_may_log_in_as_the_admin_and_nobody_else(sealed_root: Path) -> None:
    keys = [path for path in sealed_root.rglob("authorized_keys*") if path.is_file()]
    assert keys == [sealed_root / "home/admin/.ssh/authorized_keys"]
    (line,) = keys[0].read_text().splitlines()
    assert line == (STATE / "hatfleet/lab/id_ed25519.pub").read_text().strip()


def _above(link: Path) -> tuple[Path, ...]:
    return tuple(link.readlink().parents)
