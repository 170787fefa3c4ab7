"""Sizes as people write them."""

from __future__ import annotations

import pytest

from hatfleet.common.errors import InputError
from hatfleet.common.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("1K", 1024), ("500M", 500 * 2**20), ("20 GiB", 20 * 2**30), ("1.5tb", 3 * 2**39)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text, "x") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1P", "1,5G", "1 000", "1e9", "٣G"])
def test_what_is_no_size_says_where_it_stands_and_what_is_allowed(text: str) -> None:
    with pytest.raises(InputError, match=r"^--max-size: found .*, allowed is a number with K, M, G or T"):
        parse_size(text, "--max-size")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (31914983424, "29.7 GiB"), (5 * 2**50, "5120.0 TiB")],
)
def test_a_size_is_shown_in_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text
