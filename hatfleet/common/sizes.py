"""Sizes as people write and read them, in binary units."""

from __future__ import annotations

import re

from hatfleet.common.errors import InputError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str, what: str) -> int:
    """Return the bytes that a size such as ``500M``, ``20G``, ``1.5 TiB`` or ``4096`` stands for.

    Args:
        text: A number and a unit, K, M, G or T (powers of 1024, also written KiB or KB); bytes without one.
        what: What the size is for, for the error: an option or a variable.

    Raises:
        InputError: it is not such a size.
    """
    found = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if found is None:
        raise InputError(f"{what}: found {text!r}, allowed is a number with K, M, G or T, such as 500M or 20G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def format_size(size_bytes: int) -> str:
    """Return a size in the largest unit of which there is at least one: ``29.7 GiB``."""
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
