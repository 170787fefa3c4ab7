"""``autoboot.txt``: which partition to boot from, and which one when a trial was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hatfleet.lab.firmware.filters import Filters, lines_that_count

NAME = "autoboot.txt"

#: As documented in config_txt/autoboot.adoc; a longer file is not read here, so that the lab finds out and not a board.
MAX_BYTES = 512

_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True)
class Autoboot:
    """What an autoboot.txt says for this boot.

    Attributes:
        boot_partition: The partition to boot from; None: it does not say.
        tryboot_a_b: A trial is another partition, not another ``config.txt`` in the same one.
        problem: Why the file, or a part of it, could not be used; None when all is well.
    """

    boot_partition: int | None = None
    tryboot_a_b: bool = False
    problem: str | None = None


def parse_autoboot(content: bytes, *, tryboot: bool) -> Autoboot:
    """Read an autoboot.txt; whatever it contains, the result is an answer and never an error.

    Args:
        content: The bytes of the file.
        tryboot: Whether this boot is a trial.
    """
    if len(content) > MAX_BYTES:
        return Autoboot(problem=f"it has {len(content)} bytes and is not read: {MAX_BYTES} are allowed")
    filters = Filters(tryboot)
    values: dict[str, str] = {}
    for line in lines_that_count(content, filters):
        name, _, value = line.partition("=")
        values[name] = value
    number = values.get("boot_partition", "")
    problem = None
    if not _NUMBER.fullmatch(number):
        problem = f"boot_partition is {number!a}, no number" if number else "it names no boot_partition"
    elif filters.ignored:
        problem = f"it has filters that do not work there: {' '.join(filters.ignored)}"
    # 0 is the documented number for "the default".
    partition = int(number) if _NUMBER.fullmatch(number) and int(number) else None
    return Autoboot(partition, values.get("tryboot_a_b") == "1", problem)
