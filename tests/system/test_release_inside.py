"""Inside a release is what its manifest says, or `verify` names it: partitions, hash tree, boot files, block map."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.image.release.manifest import MANIFEST, Kind, load_manifest
from hatfleet.image.release.verify import verify_release
from tests.release_folder import BOOT_AT, SYSTEM_AT, make_release, put, tool
from tests.system.signed_release import FILE, failures, flip, repack, rewrite


@pytest.mark.parametrize("block", [0, 127, 299])
def test_changed_data_of_the_system_partition_is_found_by_the_hash_tree(release: Path, block: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + block * 4096 + 77)
    flip(release / FILE[Kind.SYSTEM], block * 4096 + 77)
    repack(release)
    found = failures(verify_release(release, None))
    place = f"the first at byte {block * 4096} of the partition"
    assert found == {"system_a": f"1 data blocks differ from the hash tree, {place}"}


@pytest.mark.parametrize("level", [1, 2, 4])
def test_damaged_hash_tree_is_found(release: Path, level: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + (300 + level) * 4096 + 5)
    flip(release / FILE[Kind.SYSTEM], (300 + level) * 4096 + 5)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"system_a"}


@pytest.mark.parametrize("offset", [0, 8, 12, 32, 64, 68, 72, 80, 88])
def test_changed_verity_superblock_is_found(release: Path, offset: int) -> None:
    flip(release / FILE[Kind.IMAGE], SYSTEM_AT + 300 * 4096 + offset)
    flip(release / FILE[Kind.SYSTEM], 300 * 4096 + offset)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"system_a"}


def test_command_line_with_another_root_hash_is_found(release: Path) -> None:
    manifest = load_manifest(release / MANIFEST)
    other = manifest.command_lines["b"].replace(manifest.verity.root_hash, "0" * 64)
    image = release / FILE[Kind.IMAGE]
    replace_in_fat(image, "cmdline-b.txt", f"{other}\n")
    put_boot_payload(release)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"boot_a/cmdline-b.txt"}

    def agree(record: dict[str, object]) -> None:
        record["command_lines"] = {**manifest.command_lines, "b": other}

    # A manifest that says the same does not help: the tree's root hash is what counts.
    rewrite(release, agree)
    assert "found the root hash 000" in failures(verify_release(release, None))["boot_a/cmdline-b.txt"]


def replace_in_fat(image: Path, name: str, content: str) -> None:
    source = image.parent.parent / name
    source.write_text(content)
    where = f"{image}@@{BOOT_AT}"
    tool("mdel", "-i", where, f"::/{name}")
    tool("mcopy", "-i", where, source, f"::/{name}")


def put_boot_payload(folder: Path) -> None:
    with (folder / FILE[Kind.IMAGE]).open("rb") as handle:
        handle.seek(BOOT_AT)
        (folder / FILE[Kind.BOOT]).write_bytes(handle.read((folder / FILE[Kind.BOOT]).stat().st_size))


def test_command_line_that_is_missing_is_found(release: Path) -> None:
    tool("mdel", "-i", f"{release / FILE[Kind.IMAGE]}@@{BOOT_AT}", "::/cmdline-a.txt")
    put_boot_payload(release)
    repack(release)
    assert "cmdline-a.txt" in failures(verify_release(release, None))["boot_a/cmdline-a.txt"]


def test_boot_partition_that_is_no_file_system_is_found(release: Path) -> None:
    with (release / FILE[Kind.IMAGE]).open("r+b") as handle:
        handle.seek(BOOT_AT)
        handle.write(bytes(65536))
    put_boot_payload(release)
    repack(release)
    assert set(failures(verify_release(release, None))) == {"boot_a"}


def test_secure_boot_image_that_its_signature_is_not_about_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_release(folder, tmp_path / "work", secure_boot=True)
    replace_in_fat(folder / FILE[Kind.IMAGE], "boot.sig", f"{'0' * 64}\n")
    put_boot_payload(folder)
    repack(folder)
    assert set(failures(verify_release(folder, None))) == {"boot_a/boot.sig"}


def test_update_payload_other_than_the_image_is_found(release: Path) -> None:
    flip(release / FILE[Kind.SYSTEM], 5)
    flip(release / FILE[Kind.BOOT], 5)
    rewrite(release, lambda record: None)
    assert set(failures(verify_release(release, None))) == {FILE[Kind.SYSTEM], FILE[Kind.BOOT]}


def test_content_behind_the_payload_is_found(release: Path) -> None:
    put(release / FILE[Kind.IMAGE], SYSTEM_AT + 3 * 1024 * 1024, b"hidden")
    repack(release)
    assert failures(verify_release(release, None)) == {FILE[Kind.SYSTEM]: "system_a holds more than it"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start_bytes": 4096}, "boot_a starts at byte 2097152, not 4096"),
        ({"size_bytes": 512}, "boot_a has the size 2097152, not 512"),
        ({"partuuid": "deadbeef-02"}, "boot_a has the PARTUUID cafe0102-02, not deadbeef-02"),
        ({"number": 9}, "boot_a is missing; there is a partition 2 that it does not name"),
    ],
)
def test_partition_other_than_in_the_manifest_is_found(release: Path, change: dict[str, object], message: str) -> None:
    def edit(record: dict[str, object]) -> None:
        layout = record["layout"]
        assert isinstance(layout, dict)
        layout["partitions"][1] |= change

    rewrite(release, edit)
    assert failures(verify_release(release, None))[FILE[Kind.IMAGE]] == message


def test_gpt_partition_of_another_name_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_release(folder, tmp_path / "work", table="gpt")
    tool("sfdisk", "--quiet", "--part-label", folder / FILE[Kind.IMAGE], "6", "stuff")
    repack(folder)
    assert failures(verify_release(folder, None)) == {FILE[Kind.IMAGE]: "data is called stuff, not data"}


def test_image_without_a_partition_table_is_found(release: Path) -> None:
    with (release / FILE[Kind.IMAGE]).open("r+b") as handle:
        handle.write(bytes(512))
    repack(release)
    assert "there is no partition table" in failures(verify_release(release, None))[FILE[Kind.IMAGE]]


def test_partition_table_of_another_kind_is_found(release: Path) -> None:
    tool("sfdisk", "--quiet", "--wipe", "always", release / FILE[Kind.IMAGE], stdin="label: sun\n")
    repack(release)
    assert "there is no partition table" in failures(verify_release(release, None))[FILE[Kind.IMAGE]]


def test_a_machine_whose_slots_share_a_command_line_passes(tmp_path: Path) -> None:
    make_release(tmp_path / "tiny", tmp_path / "work", platform="rpi4-debian")
    assert failures(verify_release(tmp_path / "tiny", None)) == {}


def test_a_platform_that_nobody_knows_is_found(tmp_path: Path) -> None:
    make_release(tmp_path / "tiny", tmp_path / "work")
    rewrite(tmp_path / "tiny", lambda record: record.update(platform="rpi9"))
    assert "machine of the kind rpi9, which is not known" in failures(verify_release(tmp_path / "tiny", None))["boot_a"]


def test_compressed_file_with_another_image_in_it_is_found(release: Path) -> None:
    other = release.parent / "other"
    other.write_bytes(bytes(20 * 1024 * 1024))
    for size, word in ((20, "its sha256 differs"), (19, "there is less in it"), (21, "there is more in it")):
        with other.open("r+b") as handle:
            handle.truncate(size * 1024 * 1024)
        tool("zstd", "-q", "-f", other, "-o", release / FILE[Kind.COMPRESSED])
        rewrite(release, lambda record: None)
        found = failures(verify_release(release, None))
        assert word in found[FILE[Kind.COMPRESSED]]
        assert len(found) == 1


def test_compressed_file_that_is_cut_off_or_none_is_found(release: Path) -> None:
    file = release / FILE[Kind.COMPRESSED]
    whole = file.read_bytes()
    for content in (whole[:-100], b"", b"plain", whole + b"more"):
        file.write_bytes(content)
        rewrite(release, lambda record: None)
        found = failures(verify_release(release, None))
        assert set(found) == {file.name}, content[:10]


def test_content_that_the_block_map_leaves_out_is_found(release: Path) -> None:
    put(release / FILE[Kind.IMAGE], 18 * 1024 * 1024, b"not in the map")
    tool("zstd", "-q", "-f", release / FILE[Kind.IMAGE], "-o", release / FILE[Kind.COMPRESSED])
    rewrite(release, lambda record: None)
    assert "no range for it" in failures(verify_release(release, None))[FILE[Kind.BLOCK_MAP]]


def test_block_map_that_does_not_fit_is_found(release: Path) -> None:
    file = release / FILE[Kind.BLOCK_MAP]
    whole = file.read_text()
    damaged = {
        "its own checksum does not match": whole.replace("<MappedBlocksCount>", "<MappedBlocksCount> "),
        "entities": '<!DOCTYPE x [<!ENTITY a "a">]>' + whole,
        "broken or cut off": whole[:-20],
        "version": whole.replace('version="2.0"', 'version="1.3"'),
    }
    for message, text in damaged.items():
        assert text != whole
        file.write_text(text)
        rewrite(release, lambda record: None)
        assert message in failures(verify_release(release, None))[file.name]
