"""The data partition: empty in an image but for a mark, made and grown by the device (see files/grow-data.sh)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hatfleet.image.disk import MIB

#: Runs on the device at every boot, before the data partition is mounted.
GROW_SCRIPT = Path(__file__).parent / "files" / "grow-data.sh"

#: Says that the data partition has no file system yet. The device removes it when there is one: what lies in the
#: partition itself is never taken for empty, however damaged it is.
MARK = b"hatfleet: data has no file system yet"

#: Where it lies: in the gap ahead of the first partition, which belongs to nobody, and far behind the partition table.
MARK_OFFSET_BYTES = 4 * MIB

#: One block, as what skips holes copies them.
_BLOCK_BYTES = 4096


def blank_data() -> Mapping[int, bytes]:
    """Return what an image has on its disk, by offset, to say that its data partition is to be made.

    A partition without content would not do: holes of an image are not written when it is flashed, and a card that
    was in use before would bring its old data into a new device.
    """
    return {MARK_OFFSET_BYTES: MARK.ljust(_BLOCK_BYTES, b"\0")}
