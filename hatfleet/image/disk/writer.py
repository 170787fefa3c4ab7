"""Writing a disk image: the table, then what fills the partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.disk import gpt, mbr
from hatfleet.image.disk.layout import ALIGNMENT_BYTES, MIB, DiskLayout, TableType

#: Zeros are left out in units of this: the block size of the file systems that images are built and unpacked on.
_BLOCK_BYTES = 4096


def write_disk(
    path: Path, layout: DiskLayout, contents: Mapping[str, Path], ahead: Mapping[int, bytes] | None = None
) -> None:
    """Write a disk image. Zeros become holes: an empty partition takes no space.

    Args:
        path: The image, written anew.
        layout: Where the partitions lie.
        contents: A file for every partition that is to be filled, by the name of the partition; it may be smaller
            than its partition.
        ahead: What lies in the gap between the table and the first partition, by offset from the start of the disk.

    Raises:
        InputError: a content is larger than its partition; the error says by how much.
        HatfleetError: a content for a partition that the layout does not have, or something ahead of the first one
            that is not in the gap.
    """
    for name, content in contents.items():
        _require_fit(layout, name, content)
    for offset, data in (ahead or {}).items():
        _require_in_gap(layout, offset, len(data))
    tables = {TableType.MBR: mbr, TableType.GPT: gpt}
    with path.open("wb") as disk:
        disk.truncate(layout.size_bytes)
        for offset, data in (*tables[layout.table].table_sectors(layout), *(ahead or {}).items()):
            disk.seek(offset)
            disk.write(data)
        for name, content in contents.items():
            _copy(content, disk, layout.partition(name).start_bytes)


def _require_fit(layout: DiskLayout, name: str, content: Path) -> None:
    has, needs = layout.partition(name).size_bytes, content.stat().st_size
    if needs > has:
        missing_mib = -(-(needs - has) // MIB)
        raise InputError(
            f"partition {name} has {has // MIB} MiB, {missing_mib} MiB too few for {content.name}",
            hint=f"it needs {-(-needs // MIB)} MiB or more",
        )


def _require_in_gap(layout: DiskLayout, offset: int, size: int) -> None:
    # A GPT ends with sector 33; nobody writes into the first MiB anyway.
    gap_end = min((placed.start_bytes for placed in layout.partitions), default=ALIGNMENT_BYTES)
    if offset < MIB or offset + size > gap_end:
        raise HatfleetError(f"{size} bytes at {offset} do not lie in the gap from {MIB} to {gap_end}")


def _copy(content: Path, disk: BinaryIO, start: int) -> None:
    with content.open("rb") as source:
        while chunk := source.read(MIB):
            for offset, data in _data_runs(chunk):
                disk.seek(start + offset)
                disk.write(data)
            start += len(chunk)


def _data_runs(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a chunk that are not zeros, with their offsets."""
    zeros = bytes(_BLOCK_BYTES)

    def is_data(offset: int) -> bool:
        block = chunk[offset : offset + _BLOCK_BYTES]
        return block != zeros[: len(block)]

    for has_data, group in groupby(range(0, len(chunk), _BLOCK_BYTES), is_data):
        if has_data:
            offsets = list(group)
            yield offsets[0], chunk[offsets[0] : offsets[-1] + _BLOCK_BYTES]
