"""Block maps: what is mapped, and which damaged ones are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.bmap import BLOCK_BYTES, MIB, Bmap, Extent, make_bmap, needed_of_partition, read_bmap


def sparse(path: Path, size_bytes: int, *pieces: tuple[int, bytes]) -> Path:
    with path.open("wb") as handle:
        handle.truncate(size_bytes)
        for offset, content in pieces:
            handle.seek(offset)
            handle.write(content)
    return path


def mapped(bmap: Bmap) -> list[tuple[int, int]]:
    return [(entry.first, entry.last) for entry in bmap.ranges]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return sparse(tmp_path / "a.img", 40 * BLOCK_BYTES, (0, b"x"), (20 * BLOCK_BYTES, b"y" * 2 * BLOCK_BYTES))


@pytest.fixture
def damaged(image: Path, tmp_path: Path) -> Callable[[str, str], InputError]:
    """Read a map in which one word is replaced, with its checksum made right again where that is not the word."""

    def read(old: str, new: str) -> InputError:
        text = make_bmap(image, []).render()
        assert old in text
        text = text.replace(old, new, 1)
        if "BmapFileChecksum" not in old:
            start = text.index("<BmapFileChecksum>") + len("<BmapFileChecksum> ")
            zeroed = text[:start] + "0" * 64 + text[start + 64 :]
            text = zeroed.replace("0" * 64, hashlib.sha256(zeroed.encode()).hexdigest(), 1)
        file = tmp_path / "a.bmap"
        file.write_text(text)
        with pytest.raises(InputError) as caught:
            read_bmap(file)
        assert caught.value.where and caught.value.where.file == file
        return caught.value

    return read


def test_only_blocks_with_content_are_mapped(image: Path) -> None:
    assert mapped(make_bmap(image, [])) == [(0, 0), (20, 21)]


def test_zeros_that_are_needed_are_mapped(image: Path) -> None:
    bmap = make_bmap(image, [Extent(19 * BLOCK_BYTES, 1), Extent(30 * BLOCK_BYTES + 5, BLOCK_BYTES)])
    assert mapped(bmap) == [(0, 0), (19, 21), (30, 31)]
    assert bmap.ranges[2].sha256 == hashlib.sha256(bytes(2 * BLOCK_BYTES)).hexdigest()


def test_the_start_of_an_empty_partition_is_needed_and_all_of_a_full_one() -> None:
    assert needed_of_partition(8 * MIB, 64 * MIB, 0) == Extent(8 * MIB, MIB)
    assert needed_of_partition(8 * MIB, 64 * MIB, 20 * MIB) == Extent(8 * MIB, 20 * MIB)
    assert needed_of_partition(8 * MIB, 4096, 0) == Extent(8 * MIB, 4096)


def test_written_zeros_and_holes_are_the_same(image: Path, tmp_path: Path) -> None:
    full = tmp_path / "full.img"
    full.write_bytes(image.read_bytes())
    assert full.stat().st_blocks > image.stat().st_blocks
    assert make_bmap(full, []) == make_bmap(image, [])


def test_an_image_that_ends_inside_a_block(tmp_path: Path) -> None:
    bmap = make_bmap(sparse(tmp_path / "a.img", 2 * BLOCK_BYTES + 10, (2 * BLOCK_BYTES, b"0123456789")), [])
    assert (bmap.blocks, mapped(bmap)) == (3, [(2, 2)])
    assert bmap.extent(bmap.ranges[0]) == Extent(2 * BLOCK_BYTES, 10)
    assert bmap.ranges[0].sha256 == hashlib.sha256(b"0123456789").hexdigest()


def test_an_image_of_nothing_but_a_hole(tmp_path: Path) -> None:
    assert make_bmap(sparse(tmp_path / "a.img", MIB), []).ranges == ()


def test_what_is_needed_must_be_inside_the_image(image: Path) -> None:
    with pytest.raises(HatfleetError, match="has 163840 bytes, but bytes 159744 to 163841 are needed"):
        make_bmap(image, [Extent(39 * BLOCK_BYTES, BLOCK_BYTES + 1)])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3 * MIB), st.lists(st.tuples(st.integers(0, 3 * MIB - 1), st.binary(min_size=1, max_size=9000))))
def test_a_map_says_the_same_after_writing_and_reading(
    tmp_path: Path, size: int, pieces: list[tuple[int, bytes]]
) -> None:
    image = sparse(tmp_path / "a.img", size, *((offset, data) for offset, data in pieces if offset < size))
    os.truncate(image, size)
    bmap = make_bmap(image, [])
    file = tmp_path / "a.bmap"
    file.write_text(bmap.render())
    assert read_bmap(file) == bmap
    content = image.read_bytes()
    copied = bytearray(size)
    for entry in bmap.ranges:
        extent = bmap.extent(entry)
        copied[extent.start_bytes : extent.end_bytes] = content[extent.start_bytes : extent.end_bytes]
    assert copied == content


def test_a_flipped_checksum_of_the_file(damaged: Callable[[str, str], InputError], image: Path) -> None:
    recorded = make_bmap(image, []).render().partition("<BmapFileChecksum> ")[2][:4]
    flipped = f"{int(recorded, 16) ^ 1:04x}"
    error = damaged(f"<BmapFileChecksum> {recorded}", f"<BmapFileChecksum> {flipped}")
    assert "its own checksum does not match" in error.message


def test_an_altered_map(image: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.bmap"
    file.write_text(make_bmap(image, []).render().replace("20-21", "20-22"))
    with pytest.raises(InputError, match="its own checksum does not match, so it was altered or damaged"):
        read_bmap(file)


def test_a_range_behind_the_end(damaged: Callable[[str, str], InputError]) -> None:
    assert "the range 20-40 is not inside the image's 40 blocks" in damaged("20-21", "20-40").message


def test_ranges_that_overlap(damaged: Callable[[str, str], InputError]) -> None:
    assert "the range 20-21 does not come after 0-20" in damaged("> 0 </Range", "> 0-20 </Range").message


def test_a_range_that_ends_before_it_starts(damaged: Callable[[str, str], InputError]) -> None:
    assert "the range 20-19 is not inside" in damaged("20-21", "20-19").message


def test_another_block_size(damaged: Callable[[str, str], InputError]) -> None:
    error = damaged("<BlockSize> 4096", "<BlockSize> 512")
    assert "found blocks of 512 bytes, known is 4096" in error.message
    assert error.hint and "remove the block map to copy the whole image" in error.hint


def test_another_version(damaged: Callable[[str, str], InputError]) -> None:
    assert "found version 1.4, known is 2.0" in damaged('version="2.0"', 'version="1.4"').message


def test_another_kind_of_checksum(damaged: Callable[[str, str], InputError]) -> None:
    assert "found checksums of type md5" in damaged("> sha256 <", "> md5 <").message


def test_a_range_without_checksum(damaged: Callable[[str, str], InputError]) -> None:
    assert "has no SHA-256 checksum" in damaged("chksum=", "other=").message


def test_counts_that_contradict_the_ranges(damaged: Callable[[str, str], InputError]) -> None:
    assert "it maps 3 blocks, but says 4" in damaged("<MappedBlocksCount> 3", "<MappedBlocksCount> 4").message
    assert "has 40 blocks, not 41" in damaged("<BlocksCount> 40", "<BlocksCount> 41").message


def test_words_where_a_number_belongs(damaged: Callable[[str, str], InputError]) -> None:
    assert "found 'many' where a number belongs" in damaged("<ImageSize> 163840", "<ImageSize> many").message


def test_declared_entities_are_refused_before_they_are_expanded(damaged: Callable[[str, str], InputError]) -> None:
    assert "entities" in damaged("<bmap ", '<!DOCTYPE bmap [<!ENTITY a "b">]>\n<bmap ').message


def test_a_map_that_is_cut_off_anywhere(image: Path, tmp_path: Path) -> None:
    text = make_bmap(image, []).render().rstrip()
    file = tmp_path / "a.bmap"
    for length in range(0, len(text), 7):
        file.write_text(text[:length])
        with pytest.raises(InputError, match="broken or cut off"):
            read_bmap(file)


def test_no_map_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the block map: No such file"):
        read_bmap(tmp_path / "a.bmap")


def test_the_copy_of_an_image_has_the_same_map(image: Path, tmp_path: Path) -> None:
    shutil.copyfile(image, tmp_path / "b.img")
    assert make_bmap(tmp_path / "b.img", []).render() == make_bmap(image, []).render()
