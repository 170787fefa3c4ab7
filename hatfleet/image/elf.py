"""What a program needs to be loaded, read from its ELF file (64-bit, little-endian: all that we build for)."""

from __future__ import annotations

import struct

from hatfleet.common.errors import HatfleetError

_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed_libraries(data: bytes) -> list[str]:
    """Return the names of the shared libraries that a program or library names, not those that they need in turn.

    Raises:
        HatfleetError: not a 64-bit little-endian ELF file.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise HatfleetError("not a 64-bit little-endian ELF file")
    try:
        return _needed(data)
    except (struct.error, ValueError, StopIteration) as error:
        raise HatfleetError(f"a damaged ELF file: {error}") from error


def _needed(data: bytes) -> list[str]:
    (table,) = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    headers = [struct.unpack_from("<IIQQQQ", data, table + index * size) for index in range(count)]
    dynamic = next(((offset, length) for kind, _, offset, _, _, length in headers if kind == _PT_DYNAMIC), None)
    if dynamic is None:
        return []
    entries = list(struct.iter_unpack("<QQ", data[dynamic[0] : dynamic[0] + dynamic[1]]))
    strings_address = next(value for tag, value in entries if tag == _DT_STRTAB)
    strings = next(
        offset + strings_address - address
        for kind, _, offset, address, _, length in headers
        if kind == _PT_LOAD and address <= strings_address < address + length
    )
    starts = [strings + value for tag, value in entries if tag == _DT_NEEDED]
    return [data[start : data.index(b"\0", start)].decode() for start in starts]
