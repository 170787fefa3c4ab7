"""What is said of an image is what is in it, and what differs between two is found, whichever way it is looked at."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.image import image as image_group
from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.data import MARK_OFFSET_BYTES
from hatfleet.image.disk import MIB, TableType, read_table
from hatfleet.image.inspect import Difference, diff_images, inspect_image
from hatfleet.image.inspect.contents import argument, blocks
from hatfleet.image.tools import HostTools
from tests.system.tiny_image import TinyRelease, has_tools
from tests.unit.disk_images import damage

pytestmark = pytest.mark.skipif(not has_tools(), reason="needs erofs-utils, dosfstools, mtools and cryptsetup-bin")

TOOLS = HostTools()


def cli(*argv: str | Path) -> Result:
    return CliRunner().invoke(image_group, [str(part) for part in argv])


@pytest.fixture
def before(tmp_path: Path) -> TinyRelease:
    release = TinyRelease(tmp_path / "before")
    release.make()
    return release


def compare(before: TinyRelease, after: TinyRelease) -> Difference:
    after.make()
    return diff_images(before.folder, after.folder, TOOLS)


@pytest.mark.parametrize("table", list(TableType))
def test_an_image_is_described_from_itself_and_its_manifest(tmp_path: Path, table: TableType) -> None:
    release = TinyRelease(tmp_path / "release", table=table)
    report = inspect_image(release.make(), TOOLS)
    assert (report.name, report.version, report.platform, report.table) == ("tiny", "1", "virt", table)
    assert report.kernel == "linux-image-6.12-arm64 6.12-1"
    assert [one.content.type for one in report.partitions] == ["fat", "fat", "empty", "erofs", "empty", "empty"]
    assert report.data_unmade
    boot = report.partition("boot_a")
    assert boot
    assert {file.path: file.size for file in boot.content.files} == {
        path: len(text) for path, text in release.boot.items()
    }
    assert boot.content.used_bytes == sum(len(text) for text in release.boot.values())
    assert report.command_lines["b"].endswith("hatfleet.slot=b")
    assert len(report.root_hash) == 64
    assert report.root_hash in report.command_lines["a"]


def test_a_system_partition_takes_its_file_system_and_its_tree(tmp_path: Path) -> None:
    # Large enough for a tree of two levels.
    release = TinyRelease(tmp_path / "release", files={"large": os.urandom(MIB).hex()})
    report = inspect_image(release.make(), TOOLS)
    system = report.partition("system_a")
    assert system and system.content.used_bytes
    last, block = list(blocks(release.image, system.placed))[-1]
    assert system.content.used_bytes == last + len(block)


def test_an_image_file_alone_is_described_as_far_as_that_goes(before: TinyRelease, tmp_path: Path) -> None:
    alone = before.image.rename(tmp_path / "alone.img")
    report = inspect_image(alone, TOOLS)
    assert (report.name, report.packages, report.kernel) == ("", (), "")
    assert len(report.root_hash) == 64
    shown = cli("inspect", alone)
    assert shown.exit_code == 0
    assert "an image without a manifest" in shown.output


def test_the_manifest_of_another_image_is_not_believed(before: TinyRelease) -> None:
    other = before.image.rename(before.folder / "other.img")
    assert inspect_image(other, TOOLS).name == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{}", "this is not a manifest: name: Field required"),
        ("manifest.json", "[", "this is not a manifest: the file: Invalid JSON"),
        ("manifest.json", '{"name": "a", "version": "1", "image": "../x.img"}', "image: String should match"),
        ("manifest.json", '{"name": "a", "version": "1", "image": "gone.img"}', "there is no such image"),
        ("other.json", "{}", "has no manifest.json"),
    ],
)
def test_a_folder_that_holds_no_release_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        inspect_image(tmp_path, TOOLS)


def test_a_compressed_image_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.img.zst").touch()
    with pytest.raises(InputError) as error:
        inspect_image(tmp_path / "a.img.zst", TOOLS)
    assert error.value.hint and "unzstd" in error.value.hint


def test_a_damaged_fat_is_named(before: TinyRelease) -> None:
    start = read_table(before.image).layout.partition("boot_a").start_bytes
    damage(before.image, start + 11, bytes(30))
    with pytest.raises(HatfleetError, match="the FAT of partition boot_a is damaged"):
        inspect_image(before.folder, TOOLS)


def test_packages_are_listed_when_asked_for(before: TinyRelease) -> None:
    assert "zlib1g" not in cli("inspect", before.folder).output
    assert "zlib1g 1.3 arm64" in cli("inspect", before.folder, "--packages").output
    found = json.loads(cli("inspect", before.folder, "--json").output)
    assert found["packages"][1] == {"name": "zlib1g", "version": "1.3", "arch": "arm64"}
    assert found["partitions"][3]["placed"]["name"] == "system_a"


def test_the_same_image_twice_is_the_same(before: TinyRelease, tmp_path: Path) -> None:
    difference = compare(before, replace(before, folder=tmp_path / "after"))
    assert difference.same
    shown = cli("diff", before.folder, tmp_path / "after")
    assert (shown.exit_code, shown.output) == (0, "the images are the same\n")


def test_what_was_changed_is_told(before: TinyRelease, tmp_path: Path) -> None:
    after = replace(
        before,
        folder=tmp_path / "after",
        version="2",
        system_mib=16,
        files={"etc/hostname": "other\n", "usr/bin/tool": "#!/bin/sh\n", "usr/lib/new": "\0"},
        modes={"usr/bin/tool": 0o4755},
        boot=before.boot | {"config.txt": "[all]\nx=1\n"},
        packages={"linux-image-6.12-arm64": "6.12-2", "acl": "2"},
        roles={"base": {"code": "c" * 32, "settings": "6" * 32}, "harden": {"code": "d" * 32, "settings": "7" * 32}},
    )
    found = compare(before, after)
    facts = {change.name for change in found.facts}
    assert facts == {"version", "kernel", "root hash", "command line a", "command line b"}
    assert {change.name for change in found.partitions} == {"system_a", "system_b", "data"}
    assert {change.name for change in found.contents} >= {"boot_a", "system_a"}
    assert [(one.name, one.before, one.after) for one in found.packages] == [
        ("linux-image-6.12-arm64:arm64", "6.12-1", "6.12-2"),
        ("zlib1g:arm64", "1.3", None),
        ("acl:arm64", None, "2"),
    ]
    assert [change.name for change in found.roles] == ["settings of base", "code of harden", "settings of harden"]
    assert {change.path: change.what for change in found.files} == {
        "etc/hostname": ("content 5 -> 6 bytes",),
        "usr/bin/tool": ("mode 0755 -> 4755",),
        "usr/lib": ("added",),
        "usr/lib/new": ("added",),
    }
    assert {change.path for change in found.boot_files} == {"config.txt", "cmdline-a.txt", "cmdline-b.txt"}
    assert found.system and 0 < found.system.share <= 1


def test_the_command_shows_it_and_settings_line_by_line(before: TinyRelease, tmp_path: Path) -> None:
    replace(before, folder=tmp_path / "after", files=before.files | {"etc/hostname": "other\n"}).make()
    shown = cli("diff", before.folder, tmp_path / "after", "--text")
    assert shown.exit_code == 4
    assert "  ~ etc/hostname  content 5 -> 6 bytes\n" in shown.output
    assert "      -tiny\n      +other\n" in shown.output
    assert "-tiny" not in cli("diff", before.folder, tmp_path / "after").output
    found = json.loads(cli("diff", before.folder, tmp_path / "after", "--json").output)
    assert found["same"] is False
    assert [change["path"] for change in found["files"]] == ["etc/hostname"]


def test_without_the_lists_the_system_partitions_are_unpacked(before: TinyRelease, tmp_path: Path) -> None:
    after = replace(before, folder=tmp_path / "after", files=before.files | {"etc/hostname": "other\n"})
    after.make()
    paths = [release.image.rename(tmp_path / f"{n}.img") for n, release in enumerate((before, after))]
    found = diff_images(paths[0], paths[1], TOOLS)
    assert {change.path: change.what for change in found.files} == {"etc/hostname": ("content 5 -> 6 bytes",)}


def test_one_list_and_one_unpacked_partition_are_compared_in_what_both_know(
    before: TinyRelease, tmp_path: Path
) -> None:
    same = replace(before, folder=tmp_path / "after", with_list=False)
    assert compare(before, same).files == ()


def test_a_system_partition_that_cannot_be_unpacked_is_an_error_not_a_difference(before: TinyRelease) -> None:
    start = read_table(before.image).layout.partition("system_a").start_bytes
    next(before.folder.glob("*.files.json.gz")).unlink()
    damage(before.image, start + 1024, bytes(4096))
    with pytest.raises(HatfleetError, match="cannot be unpacked") as error:
        diff_images(before.folder, before.folder, TOOLS)
    assert error.value.hint and "1.8" in error.value.hint


def test_a_single_byte_anywhere_is_a_difference(before: TinyRelease, tmp_path: Path) -> None:
    other = replace(before, folder=tmp_path / "after")
    other.make()
    layout = read_table(other.image).layout
    places = [layout.partition("system_b").end_bytes - 1, layout.partition("data").start_bytes, MARK_OFFSET_BYTES]
    for offset in places:
        damage(other.image, offset)
        assert not diff_images(before.folder, other.folder, TOOLS).same
        damage(other.image, offset)
    assert diff_images(before.folder, other.folder, TOOLS).same


def test_an_update_carries_the_blocks_that_are_nowhere_on_the_device(before: TinyRelease, tmp_path: Path) -> None:
    large = {f"usr/file{number}": os.urandom(6000).hex() for number in range(20)}
    one = replace(before, folder=tmp_path / "one", files=large)
    one.make()
    two = replace(before, folder=tmp_path / "two", files=large | {"usr/file7": os.urandom(6000).hex()})
    found = compare(one, two)
    # Three blocks of the file, and of the tree that covers it at least two.
    assert found.system and 3 <= found.system.new <= 8 < found.system.blocks


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ro roothash=ab quiet", "ab"),
        ("roothash=ab roothash=cd", "cd"),
        ('a="b roothash=no" x', None),
        ('roothash="open', '"open'),
        ("xroothash=ab", None),
        ("", None),
    ],
)
def test_an_argument_is_read_as_the_kernel_reads_it(line: str, value: str | None) -> None:
    assert argument(line, "roothash") == value
