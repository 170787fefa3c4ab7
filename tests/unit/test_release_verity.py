"""The hash tree computed again, beside what veritysetup makes of the same data."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.image.release.verity import BLOCK_BYTES, VerityError, check_tree, tree_bytes
from tests.release_folder import make_system

#: Around the places where the tree gets another block or another level: 128 hashes fit into a block.
SIZES = (1, 2, 127, 128, 129, 16385)


@pytest.mark.parametrize("blocks", SIZES)
def test_tree_of_every_shape_is_that_of_veritysetup(tmp_path: Path, blocks: int) -> None:
    root_hash = make_system(tmp_path / "system", blocks)
    assert (tmp_path / "system").stat().st_size == (blocks + 1) * BLOCK_BYTES + tree_bytes(blocks)
    heard: list[int] = []
    with (tmp_path / "system").open("rb") as stream:
        check_tree(stream, 0, blocks * BLOCK_BYTES, root_hash, heard.append)
        assert heard[-1] == blocks * BLOCK_BYTES
        with pytest.raises(VerityError, match=f"the data has the root hash {root_hash}, not 00"):
            check_tree(stream, 0, blocks * BLOCK_BYTES, "0" * 64)


def test_partition_is_found_behind_others(tmp_path: Path) -> None:
    root_hash = make_system(tmp_path / "system", 130)
    (tmp_path / "disk").write_bytes(b"x" * 8192 + (tmp_path / "system").read_bytes() + b"y" * 4096)
    with (tmp_path / "disk").open("rb") as stream:
        check_tree(stream, 8192, 130 * BLOCK_BYTES, root_hash)


@pytest.mark.parametrize("kept", [0, 4096, 130 * BLOCK_BYTES + 100, 131 * BLOCK_BYTES, 133 * BLOCK_BYTES])
def test_file_that_ends_too_early_is_said(tmp_path: Path, kept: int) -> None:
    root_hash = make_system(tmp_path / "system", 130)
    with (tmp_path / "system").open("r+b") as handle:
        handle.truncate(kept)
    with (tmp_path / "system").open("rb") as stream, pytest.raises(VerityError):
        check_tree(stream, 0, 130 * BLOCK_BYTES, root_hash)


def test_tree_over_other_data_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    root_hash = make_system(tmp_path / "system", 130)
    data = (tmp_path / "system").read_bytes()
    (tmp_path / "system").write_bytes(b"z" * BLOCK_BYTES + data)
    with (tmp_path / "system").open("rb") as stream, pytest.raises(VerityError, match="protects 130 blocks"):
        check_tree(stream, 0, 131 * BLOCK_BYTES, root_hash)
