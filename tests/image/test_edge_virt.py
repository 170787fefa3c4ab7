"""The image of images/edge-virt.yaml and the files beside it, judged by programs of others, without booting it."""

from __future__ import annotations

import email
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from hatfleet.image.disk import MIB
from hatfleet.image.release.manifest import MANIFEST, OS_LIST, Kind, Manifest
from hatfleet.image.release.verity import VerityError, check_tree
from hatfleet.image.tools import Tools
from tests.conftest import Provision
from tests.unit.disk_images import damage, tool
from tests.unit.test_image_initramfs import read_archive

pytestmark = pytest.mark.image

#: The partition table as it must stay: devices in the field are updated by these numbers.
GOLDEN_TABLE = """\
label: dos
label-id: 0xeceb53a8
device: edge-virt.img
unit: sectors
sector-size: 512

edge-virt.img1 : start=       16384, size=       81920, type=c
edge-virt.img2 : start=       98304, size=      131072, type=c
edge-virt.img3 : start=      229376, size=      131072, type=c
edge-virt.img4 : start=      360448, size=     1228800, type=f
edge-virt.img5 : start=      376832, size=      524288, type=83
edge-virt.img6 : start=      917504, size=      524288, type=83
edge-virt.img7 : start=     1458176, size=      131072, type=83
"""

#: What a system update carries at most, MiB: the system itself, and Python with the environment of models.
SYSTEM_LIMIT_MIB = 110
RUNTIMES_LIMIT_MIB = 55

FIXTURES = Path(__file__).parents[1] / "unit" / "fixtures"

Artefacts = Callable[[Kind], Path]
Partitions = Callable[[str], Path]


def read_fat(image: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", image, f"::/{name}"], capture_output=True, check=True).stdout


def names_in_fat(image: Path) -> set[str]:
    said = tool("mdir", "-i", image, "-b", "-/", "::/").splitlines()
    return {line.removeprefix("::/") for line in said if line and not line.endswith("/")}


def is_all_zeros(rest: BinaryIO) -> bool:
    return not any(any(piece) for piece in iter(lambda: rest.read(MIB), b""))


def copy_of_release(image: Path, folder: Path) -> Path:
    """Return a copy of the release folder, to be damaged."""
    target = folder / image.parent.name
    subprocess.run(["cp", "-r", "--reflink=auto", "--sparse=always", image.parent, target], check=True)
    return target


def test_the_partition_table_is_the_golden_one(edge_virt_image: Path) -> None:
    said = tool("sfdisk", "--dump", edge_virt_image)
    assert said.replace(str(edge_virt_image), "edge-virt.img") == GOLDEN_TABLE


def test_sfdisk_finds_no_fault_in_the_partition_table(edge_virt_image: Path) -> None:
    assert "No errors detected." in tool("sfdisk", "--verify", edge_virt_image)


def test_the_manifest_has_the_partitions_that_sfdisk_sees(edge_virt_image: Path, manifest: Manifest) -> None:
    table = json.loads(tool("sfdisk", "--json", edge_virt_image))["partitiontable"]
    assert len(table["partitions"]) == 7
    seen = [(one["start"] * 512, one["size"] * 512) for one in table["partitions"] if one["type"] != "f"]
    assert seen == [(one.start_bytes, one.size_bytes) for one in manifest.layout.partitions]
    names = ["bootcfg", "boot_a", "boot_b", "system_a", "system_b", "data"]
    assert [one.name for one in manifest.layout.partitions] == names
    disk_id = table["id"].removeprefix("0x")
    numbers = [1, 2, 3, 5, 6, 7]
    assert [one.partuuid for one in manifest.layout.partitions] == [f"{disk_id}-{number:02x}" for number in numbers]


def test_the_release_proves_itself(edge_virt_image: Path, provision: Provision) -> None:
    report = json.loads(provision("image", "verify", str(edge_virt_image.parent), "--json").stdout)
    assert {one["outcome"] for one in report["checks"]} <= {"passed", "not checked"}
    not_checked = {one["subject"] for one in report["checks"] if one["outcome"] != "passed"}
    assert all(name == MANIFEST or name.endswith(Kind.PROVENANCE) for name in not_checked), not_checked


def test_one_changed_byte_in_the_system_partition_is_found(
    edge_virt_image: Path, manifest: Manifest, provision: Provision, tmp_path: Path
) -> None:
    folder = copy_of_release(edge_virt_image, tmp_path)
    system = next(one for one in manifest.layout.partitions if one.name == "system_a")
    damage(folder / edge_virt_image.name, system.start_bytes + system.used_bytes // 3)
    done = provision("image", "verify", str(folder), "--json", expect=5)
    failed = {one["subject"] for one in json.loads(done.stdout)["checks"] if one["outcome"] == "failed"}
    assert {edge_virt_image.name, "system_a"} <= failed


def test_a_truncated_download_is_found(edge_virt_image: Path, provision: Provision, tmp_path: Path) -> None:
    folder = copy_of_release(edge_virt_image, tmp_path)
    compressed = folder / f"{edge_virt_image.name}.zst"
    with compressed.open("r+b") as handle:
        handle.truncate(compressed.stat().st_size - 1)
    done = provision("image", "verify", str(compressed), "--json", expect=5)
    assert compressed.name in done.stdout and "truncated" in done.stdout


def test_a_file_that_nobody_vouches_for_is_found(edge_virt_image: Path, provision: Provision, tmp_path: Path) -> None:
    folder = copy_of_release(edge_virt_image, tmp_path)
    (folder / "install.sh").write_text("#!/bin/sh\n")
    assert "install.sh" in provision("image", "verify", str(folder), "--json", expect=5).stdout


def test_the_manifest_tells_the_truth_about_every_file(edge_virt_image: Path, manifest: Manifest) -> None:
    folder = edge_virt_image.parent
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *manifest.artefacts}
    for name, entry in manifest.artefacts.items():
        assert entry.sha256 == tool("sha256sum", folder / name).split()[0].removeprefix("\\")
        assert entry.size_bytes == (folder / name).stat().st_size
    assert manifest.image == edge_virt_image.name
    assert manifest.sha256 == manifest.artefacts[edge_virt_image.name].sha256
    assert (manifest.platform, manifest.arch, manifest.admin_user) == ("virt", "arm64", "admin")


def test_the_image_is_sparse(edge_virt_image: Path) -> None:
    status = edge_virt_image.stat()
    assert status.st_blocks * 512 < 0.5 * status.st_size


@pytest.mark.parametrize("name", ["bootcfg", "boot_a"])
def test_the_fat_file_systems_are_sound(partition: Partitions, name: str) -> None:
    tool("fsck.vfat", "-n", partition(name))


def test_the_first_slot_boots_and_a_trial_boots_the_second(partition: Partitions) -> None:
    assert names_in_fat(partition("bootcfg")) == {"autoboot.txt"}
    content = read_fat(partition("bootcfg"), "autoboot.txt")
    assert len(content) == 512
    lines = content.decode("ascii").split()
    assert lines == ["[all]", "tryboot_a_b=1", "boot_partition=2", "[tryboot]", "boot_partition=3"]


def test_the_firmware_finds_kernel_initramfs_and_a_command_line_for_each_slot(partition: Partitions) -> None:
    boot = partition("boot_a")
    names = {"cmdline-a.txt", "cmdline-b.txt", "cmdline.txt", "config.txt", "initrd.img", "vmlinuz"}
    assert names_in_fat(boot) == names
    lines = read_fat(boot, "config.txt").decode("ascii").splitlines()
    assert {"kernel=vmlinuz", "initramfs initrd.img followkernel"} <= set(lines)
    start = lines.index("[boot_partition=2]")
    by_slot = ["[boot_partition=2]", "cmdline=cmdline-a.txt", "[boot_partition=3]", "cmdline=cmdline-b.txt", "[all]"]
    assert lines[start:] == by_slot
    assert (
        read_fat(boot, "vmlinuz")[56:60] == b"ARM\x64"
    )  # magic of an arm64 Image, Documentation/arch/arm64/booting.rst


@pytest.mark.parametrize("slot", ["a", "b"])
def test_the_command_line_of_a_slot_names_root_hash_partitions_and_slot(
    partition: Partitions, manifest: Manifest, slot: str
) -> None:
    text = read_fat(partition("boot_a"), f"cmdline-{slot}.txt").decode("ascii")
    assert text.count("\n") == 1 and text.endswith("\n")
    assert manifest.command_lines[slot] == text.strip()  # type: ignore[index]
    arguments = text.split()
    values = dict(argument.partition("=")[::2] for argument in arguments)
    assert values["roothash"] == manifest.verity.root_hash
    blocks, salt = values["hatfleet.verity"].split(":")
    assert int(blocks) * 4096 == manifest.verity.hash_offset_bytes
    assert re.fullmatch("[0-9a-f]{64}", salt)
    systems = [one.partuuid for one in manifest.layout.partitions if one.name.startswith("system_")]
    assert values["hatfleet.system"] == ":".join(systems)
    assert values["hatfleet.slot"] == slot
    assert "console=ttyAMA0" in arguments
    assert not any(argument.startswith("root=") for argument in arguments)
    # What the roles declared stands in a file of its own, without what belongs to a slot.
    common = read_fat(partition("boot_a"), "cmdline.txt").decode("ascii").split()
    assert arguments[: len(common)] == common
    assert not any(argument.startswith(("roothash=", "hatfleet.")) for argument in common)


def test_the_second_slot_is_empty(partition: Partitions) -> None:
    for name in ("boot_b", "system_b"):
        with partition(name).open("rb") as handle:
            assert is_all_zeros(handle), name


def test_the_files_for_updates_are_the_content_of_the_first_slot(partition: Partitions, artefact: Artefacts) -> None:
    for name, kind in (("boot_a", Kind.BOOT), ("system_a", Kind.SYSTEM)):
        with partition(name).open("rb") as whole, artefact(kind).open("rb") as part:
            while piece := part.read(MIB):
                assert whole.read(len(piece)) == piece, name
            assert is_all_zeros(whole), name


def test_the_initramfs_holds_what_it_needs_and_no_more(partition: Partitions) -> None:
    data = read_fat(partition("boot_a"), "initrd.img")
    assert len(data) < 8 * MIB
    files = read_archive(data)
    programs = {f"bin/{name}" for name in ("chroot", "dmsetup", "findfs", "insmod", "mount", "run-init", "sh", "sleep")}
    assert {"init", "modules/order", "dev/console", *programs} <= set(files)
    order = [line.removesuffix("?") for line in files["modules/order"][1].decode().split()]
    assert order.index("virtio_blk.ko") < order.index("dm-verity.ko") < order.index("erofs.ko")
    assert {f"modules/{name}" for name in order} == {
        name for name in files if name.startswith("modules/") and name != "modules/order"
    }
    assert not any(re.search("key|passwd|shadow|ssh|authorized", name) for name in files)
    assert not any(b"PRIVATE KEY" in content or b"ssh-ed25519" in content for _, content in files.values())


def test_veritysetup_accepts_the_system_partition_and_no_other_byte(
    partition: Partitions, artefact: Artefacts, manifest: Manifest, tmp_path: Path
) -> None:
    offset, root_hash = manifest.verity.hash_offset_bytes, manifest.verity.root_hash
    system = partition("system_a")
    tool("veritysetup", "verify", system, system, root_hash, f"--hash-offset={offset}")
    changed = tmp_path / "system"
    shutil.copy(artefact(Kind.SYSTEM), changed)
    damage(changed, offset // 2)
    with pytest.raises(AssertionError, match=r"[Vv]erification failed"):
        tool("veritysetup", "verify", changed, changed, root_hash, f"--hash-offset={offset}")


def test_every_changed_byte_of_the_system_is_found(artefact: Artefacts, manifest: Manifest) -> None:
    content = bytearray(artefact(Kind.SYSTEM).read_bytes())
    offset, root_hash = manifest.verity.hash_offset_bytes, manifest.verity.root_hash
    check_tree(io.BytesIO(content), 0, offset, root_hash)
    places = random.Random(manifest.sha256).sample(range(offset), 20)
    for place in places:
        content[place] ^= 1 << place % 8
        with pytest.raises(VerityError, match="1 data blocks differ"):
            check_tree(io.BytesIO(content), 0, offset, root_hash)
        content[place] ^= 1 << place % 8
    check_tree(io.BytesIO(content), 0, offset, root_hash)


def test_the_system_file_system_is_sound(artefact: Artefacts, tools: Tools) -> None:
    system = artefact(Kind.SYSTEM)
    tools.run(["fsck.erofs", system], reads=[system])


def test_the_system_is_small_enough_to_update_over_the_air(artefact: Artefacts) -> None:
    assert artefact(Kind.SYSTEM).stat().st_size <= (SYSTEM_LIMIT_MIB + RUNTIMES_LIMIT_MIB) * MIB


def test_bmaptool_copies_the_image(edge_virt_image: Path, artefact: Artefacts, tmp_path: Path) -> None:
    for source in (edge_virt_image, artefact(Kind.COMPRESSED)):
        target = tmp_path / source.name
        tool("bmaptool", "copy", "--bmap", artefact(Kind.BLOCK_MAP), source, target)
        with target.open("r+b") as handle:  # it ends with the last mapped block; a card does not
            handle.truncate(edge_virt_image.stat().st_size)
        tool("cmp", edge_virt_image, target)
        target.unlink()


def test_zstd_unpacks_the_image(edge_virt_image: Path, artefact: Artefacts, manifest: Manifest) -> None:
    digest = hashlib.sha256()
    with subprocess.Popen(["zstd", "-dc", artefact(Kind.COMPRESSED)], stdout=subprocess.PIPE) as unpacker:
        assert unpacker.stdout is not None
        while piece := unpacker.stdout.read(MIB):
            digest.update(piece)
    assert unpacker.returncode == 0
    assert digest.hexdigest() == manifest.sha256


def test_imager_is_told_the_truth(edge_virt_image: Path, manifest: Manifest) -> None:
    document = json.loads((edge_virt_image.parent / OS_LIST).read_text())
    jsonschema.Draft7Validator(json.loads((FIXTURES / "os-list.schema.json").read_text())).validate(document)
    (entry,) = document["os_list"]
    compressed = manifest.artefacts[entry["url"]]
    assert (entry["extract_sha256"], entry["extract_size"]) == (manifest.sha256, edge_virt_image.stat().st_size)
    assert entry["image_download_sha256"] == compressed.sha256
    assert entry["image_download_size"] == compressed.size_bytes
    assert (edge_virt_image.parent / entry["bmap_url"]).is_file()


def python_packages(root: Path) -> set[tuple[str, str]]:
    """Names and versions of what is installed in the environment of models, as its own metadata say."""
    found = (
        email.message_from_string(file.read_text()) for file in root.glob("opt/hatserve/lib/*/*/*.dist-info/METADATA")
    )
    return {(re.sub("[-_.]+", "-", one["Name"]).lower(), one["Version"]) for one in found}


def test_the_bills_of_materials_are_valid_and_name_every_package(
    artefact: Artefacts, manifest: Manifest, sealed_root: Path
) -> None:
    python = python_packages(sealed_root)
    assert {"hatserve", "numpy", "onnxruntime"} <= {name for name, _ in python}
    wanted = {(one.name, one.version) for one in manifest.packages} | python
    text = artefact(Kind.CYCLONEDX).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {(one["name"], one["version"]) for one in json.loads(text)["components"]} == wanted
    document = parse_file(str(artefact(Kind.SPDX)))
    assert [fault.validation_message for fault in validate_full_spdx_document(document)] == []
    described = {(one.name, one.version) for one in document.packages} - {(manifest.name, manifest.version)}
    assert described == wanted
