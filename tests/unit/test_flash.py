"""Flashing onto a file: what is on it afterwards, and what is on it when anything goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.bmap import MIB
from hatfleet.image.flash import Device, Flashed, Machine, Seed, flash, open_source
from hatfleet.image.flash import __name__ as flash_name
from hatfleet.image.flash.target import Target, open_target
from tests.flash_image import (
    BOOTCFG,
    EMPTY,
    SIZE_BYTES,
    SYSTEM,
    SYSTEM_CONTENT_BYTES,
    Release,
    make_release,
    read_seed,
    tool,
    used_card,
)

#: What lies inside the system partition behind its content: nobody needs it.
FREE = slice(SYSTEM.start_bytes + SYSTEM_CONTENT_BYTES, EMPTY.start_bytes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release") / "out").image.parent


@pytest.fixture
def release(made: Path, tmp_path: Path) -> Release:
    return Release(Path(shutil.copytree(made, tmp_path / "out")) / "edge-1.0.img")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return used_card(tmp_path / "card")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(f"{flash_name}.say", lines.append)
    return lines


def do(release: Release, card: Path, seed: Seed | None = None, image: Path | None = None) -> Flashed:
    return flash(open_source(image or release.image), Machine().find(card), seed)


def make_seed(folder: Path, text: str = '{"name": "edge-01"}') -> Seed:
    return Seed("edge-01", text.encode(), b"{}\n", folder / "enrolment" / "edge-01.json")


def does_not_boot(card: Path) -> bool:
    """No partition table at either end."""
    content = card.read_bytes()
    return not any(content[:MIB]) and not any(content[-MIB:])


def test_what_the_map_names_is_written_and_the_rest_is_left(release: Release, card: Path) -> None:
    done = do(release, card)
    content = card.read_bytes()
    wanted = release.content
    assert content[:MIB] == wanted[:MIB]
    for extent in (BOOTCFG, SYSTEM):
        span = slice(extent.start_bytes, extent.start_bytes + 3 * MIB)
        assert content[span] == wanted[span]
    assert content[EMPTY.start_bytes : EMPTY.start_bytes + MIB] == bytes(MIB)
    assert set(content[FREE]) == {0xA5}
    assert not any(content[-MIB:])
    assert (done.image_bytes, done.manifest, done.host) == (SIZE_BYTES, True, None)
    assert done.written_bytes == 8 * MIB + 4096


def test_without_a_map_everything_is_written(release: Release, card: Path) -> None:
    release.bmap.unlink()
    assert do(release, card).written_bytes == SIZE_BYTES
    assert card.read_bytes()[:SIZE_BYTES] == release.content


@pytest.mark.parametrize("beside", ["map", "nothing"])
def test_a_packed_image_gives_the_same(release: Release, card: Path, tmp_path: Path, beside: str) -> None:
    other = used_card(tmp_path / "other")
    if beside == "nothing":
        release.bmap.unlink()
    plain = do(release, card)
    packed = do(release, other, image=release.packed())
    assert other.read_bytes() == card.read_bytes()
    assert (packed.sha256, packed.written_bytes) == (plain.sha256, plain.written_bytes)


def test_a_card_of_exactly_the_images_size(tmp_path: Path) -> None:
    release = make_release(tmp_path / "gpt", "gpt")
    card = used_card(tmp_path / "card", SIZE_BYTES)
    do(release, card)
    assert "disk.gpt" not in tool(["sfdisk", "--verify", card])
    assert card.read_bytes()[-MIB:] == release.content[-MIB:]


def test_flashing_twice_changes_nothing(release: Release, card: Path) -> None:
    do(release, card)
    before = card.read_bytes()
    do(release, card)
    assert card.read_bytes() == before


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_a_seed_goes_into_the_first_partition_and_is_remembered(tmp_path: Path, table: str) -> None:
    release = make_release(tmp_path / "out", table)
    card = used_card(tmp_path / "card")
    seed = make_seed(tmp_path)
    assert do(release, card, seed).host == "edge-01"
    assert read_seed(card) == {"name": "edge-01"}
    assert seed.record_file.read_bytes() == seed.record
    tool(["fsck.vfat", "-n", fat_of(card, tmp_path)])
    assert card.read_bytes()[SYSTEM.start_bytes :][: 3 * MIB] == release.content[SYSTEM.start_bytes :][: 3 * MIB]


def fat_of(card: Path, tmp_path: Path) -> Path:
    fat = tmp_path / "fat"
    fat.write_bytes(card.read_bytes()[BOOTCFG.start_bytes : BOOTCFG.end_bytes])
    return fat


def test_a_seed_replaces_one_that_the_image_holds(release: Release, card: Path, tmp_path: Path) -> None:
    release.bmap.unlink()
    release.manifest.unlink()
    old = tmp_path / "hatfleet-seed.json"
    old.write_text('{"name": "old"}')
    tool(["mcopy", "-i", f"{release.image}@@{BOOTCFG.start_bytes}", old, "::/"])
    do(release, card, make_seed(tmp_path))
    assert read_seed(card) == {"name": "edge-01"}


def zero_table(release: Release) -> None:
    patch(release.image, 0, bytes(512))


def other_type(release: Release) -> None:
    patch(release.image, 446 + 4, b"\x83")


def no_marker(release: Release) -> None:
    tool(["mdel", "-i", f"{release.image}@@{BOOTCFG.start_bytes}", "::/autoboot.txt"])


def huge(release: Release) -> None:
    patch(release.image, 446 + 12, (SIZE_BYTES // 512).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (zero_table, "the image has no partition table"),
        (other_type, "its first partition is not a FAT"),
        (no_marker, "its first partition holds no autoboot.txt"),
        (huge, "its first partition is too near to an end of the image"),
    ],
)
def test_a_seed_that_has_nowhere_to_go(
    release: Release, card: Path, tmp_path: Path, break_it: Callable[[Release], None], words: str
) -> None:
    break_it(release)
    release.bmap.unlink()
    release.manifest.unlink()
    seed = make_seed(tmp_path)
    with pytest.raises(HatfleetError, match=words):
        do(release, card, seed)
    assert does_not_boot(card)
    assert not seed.record_file.exists()


def patch(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as handle:
        handle.seek(offset)
        handle.write(content)


def test_an_image_that_is_not_its_manifests_is_declared_failed(release: Release, card: Path, said: list[str]) -> None:
    patch(release.image, FREE.start, b"!")
    with pytest.raises(HatfleetError, match="its manifest says"):
        do(release, card)
    assert does_not_boot(card)
    assert said == ["card holds no usable system now: nothing boots from it. Run the same command again."]


def test_an_image_that_is_not_its_maps(release: Release, card: Path) -> None:
    patch(release.image, SYSTEM.start_bytes, b"!")
    with pytest.raises(HatfleetError, match="is not what its block map says: blocks 512 to 2303 differ"):
        do(release, card)
    assert does_not_boot(card)


def test_a_packed_image_that_is_cut_off(release: Release, card: Path) -> None:
    packed = release.packed()
    os.truncate(packed, packed.stat().st_size // 2)
    with pytest.raises(HatfleetError, match="it should have"):
        do(release, card, image=packed)
    assert does_not_boot(card)


def test_a_packed_image_with_a_flipped_byte(release: Release, card: Path) -> None:
    packed = release.packed()
    patch(packed, packed.stat().st_size // 2, b"\x00\xff\x00\xff")
    with pytest.raises(HatfleetError):
        do(release, card, image=packed)
    assert does_not_boot(card)


def test_a_packed_image_that_goes_on(release: Release, card: Path) -> None:
    packed = release.packed()
    with packed.open("ab") as handle:
        handle.write(zstandard.ZstdCompressor().compress(b"more"))
    with pytest.raises(HatfleetError, match="goes on behind the 25165824 bytes that it should have"):
        do(release, card, image=packed)
    assert does_not_boot(card)


@pytest.fixture
def worn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A disk that loses what is written to the bytes listed here."""
    lost: list[int] = []
    real = Target.write

    def write(self: Target, offset: int, data: bytes | memoryview) -> None:
        content = bytearray(data)
        for position in lost:
            if offset <= position < offset + len(content):
                content[position - offset] ^= 1
        real(self, offset, bytes(content))

    monkeypatch.setattr(Target, "write", write)
    return lost


@pytest.mark.parametrize("where", [BOOTCFG.start_bytes + 3, SYSTEM.start_bytes + MIB, SYSTEM.start_bytes + 3 * MIB - 1])
def test_a_disk_that_loses_a_bit_is_found_by_reading_back(
    release: Release, card: Path, worn: list[int], where: int
) -> None:
    worn.append(where)
    with pytest.raises(HatfleetError, match="what was read back from card is not what was written, between bytes"):
        do(release, card)
    assert does_not_boot(card)


def test_a_disk_that_loses_a_bit_of_the_table_is_found_too(release: Release, card: Path, worn: list[int]) -> None:
    worn.append(450)
    with pytest.raises(HatfleetError, match="between bytes 0 and 1048576"):
        do(release, card)
    assert card.read_bytes()[510:512] == bytes(2)


def test_a_disk_that_loses_the_seed_is_found(
    release: Release, card: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = Target.write

    def write(self: Target, offset: int, data: bytes | memoryview) -> None:
        if len(data) != 4096:  # the image goes in larger pieces
            real(self, offset, data)

    monkeypatch.setattr(Target, "write", write)
    seed = make_seed(tmp_path)
    with pytest.raises(HatfleetError, match="card does not keep what is written at byte"):
        do(release, card, seed)
    assert does_not_boot(card)
    assert not seed.record_file.exists()


@pytest.mark.parametrize("writes", range(14))
def test_an_interrupt_at_any_write_leaves_nothing_that_boots(
    release: Release, card: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writes: int
) -> None:
    real = Target.write
    left = [writes]

    def write(self: Target, offset: int, data: bytes | memoryview) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        real(self, offset, data)

    monkeypatch.setattr(Target, "write", write)
    try:
        do(release, card, make_seed(tmp_path))
    except KeyboardInterrupt:
        assert writes == 0 or does_not_boot(card)
        assert len(said) == 1
        monkeypatch.undo()
        do(release, card, make_seed(tmp_path))
    assert read_seed(card) == {"name": "edge-01"}
    assert card.read_bytes()[:MIB] == release.content[:MIB]


def test_a_disk_that_reports_an_error(release: Release, card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if EMPTY.start_bytes > offset >= SYSTEM.start_bytes:
            raise OSError(5, "Input/output error")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(HatfleetError, match="writing card failed at byte 8388608: Input/output error"):
        do(release, card)


def test_a_disk_that_ends_before_its_size(release: Release, card: Path) -> None:
    device = Machine().find(card)
    source = open_source(release.image)
    os.truncate(card, SIZE_BYTES)
    smaller = Device(device.path, device.name, SIZE_BYTES, is_file=True)
    flash(source, smaller)
    with Path(card).open("r+b") as handle:
        handle.truncate(SYSTEM.start_bytes)
    with open_target(smaller) as target, pytest.raises(HatfleetError, match="card ends at byte 6291456"):
        list(target.read(SYSTEM.start_bytes - MIB, 2 * MIB))


def test_a_disk_that_somebody_has_locked(release: Release, card: Path) -> None:
    before = card.read_bytes()
    with card.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="card is in use by another program"):
            do(release, card)
    assert card.read_bytes() == before


def test_no_image_and_other_kinds_of_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no image"):
        open_source(tmp_path / "none.img")
    for name in ("a.iso", "a.img.xz", "a.zst"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match="is no disk image"):
            open_source(tmp_path / name)


def test_a_map_of_another_image(release: Release) -> None:
    os.truncate(release.image, SIZE_BYTES - MIB)
    with pytest.raises(InputError, match=r"it is of an image of 25165824 bytes, but edge-1.0.img has 24117248"):
        open_source(release.image)


def test_a_map_without_the_images_ending_is_found_too(release: Release) -> None:
    release.bmap.rename(release.bmap.with_name("edge-1.0.bmap"))
    assert open_source(release.image).bmap


def test_a_packed_image_that_does_not_say_its_size_needs_a_map(release: Release) -> None:
    packed = release.image.with_name("edge-1.0.img.zst")
    packed.write_bytes(zstandard.ZstdCompressor(write_content_size=False).compress(release.content))
    assert open_source(packed).image_bytes == SIZE_BYTES
    release.bmap.unlink()
    with pytest.raises(InputError, match="does not say how large it is unpacked") as caught:
        open_source(packed)
    assert caught.value.hint and "put edge-1.0.img.bmap beside it" in caught.value.hint
    packed.write_bytes(b"no zstd at all")
    with pytest.raises(InputError, match="is not packed with zstd"):
        open_source(packed)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "edge"}', '{"name": 1}'])
def test_a_damaged_manifest(release: Release, text: str) -> None:
    release.manifest.write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json.*: not a manifest: "):
        open_source(release.image)


def test_a_manifest_of_another_image_says_nothing_about_this_one(release: Release) -> None:
    manifest = json.loads(release.manifest.read_text())
    release.manifest.write_text(json.dumps(manifest | {"image": "other.img"}))
    assert open_source(release.image).declared is None


def test_a_signature_beside_the_manifest_is_seen(release: Release) -> None:
    assert not open_source(release.image).signed
    release.manifest.with_name("manifest.json.sig").touch()
    assert open_source(release.image).signed
