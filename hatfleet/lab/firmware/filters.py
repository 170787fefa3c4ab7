"""The sections of ``config.txt`` and ``autoboot.txt``: which lines count for this board, this boot, this partition.

As Raspberry Pi documents them (config_txt/conditional.adoc): filters of the same kind replace each other, filters of
different kinds must all hold, ``[all]`` forgets them all. What the lab cannot know (a monitor, a GPIO, another
board's model) does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: The board that the lab plays.
MODEL = "pi5"

_MODEL = re.compile(r"pi[0-9].*|cm[0-9].*")
_BOOT_PARTITION = re.compile(r"boot_partition=([0-9]{1,3})")
#: What the bootloader's filter for numbers compares; all of them are one kind (release notes of 2025-02-11).
_EXPRESSION = re.compile(r"(?:boot_partition|partition|boot_count|boot_arg1)[=&<>]")


@dataclass
class Filters:
    """Which filters are in force, and whether they hold.

    Attributes:
        tryboot: Whether this boot is a trial.
        partition: The partition that is booted from; None while that is still to be found (autoboot.txt).
        ignored: Filters that the lab does not know, in the order they came.
    """

    tryboot: bool
    partition: int | None = None
    ignored: list[str] = field(default_factory=list)
    _holds: dict[str, bool] = field(default_factory=dict, init=False)

    @property
    def hold(self) -> bool:
        """Whether a line that stands here counts."""
        return all(self._holds.values())

    def enter(self, name: str) -> None:
        """Take note of the section ``[name]``."""
        if name == "all":
            self._holds.clear()
        elif name == "none":
            self._holds["none"] = False
        elif name == "tryboot":
            self._holds["tryboot"] = self.tryboot
        elif match := _BOOT_PARTITION.fullmatch(name):
            self._holds["expression"] = self.partition == int(match[1])
        elif _MODEL.fullmatch(name):
            self._holds["model"] = name == MODEL
        else:
            self._holds["expression" if _EXPRESSION.match(name) else re.split(r"[=:0-9]", name)[0]] = False
            self.ignored.append(f"[{name}]")


def lines_that_count(content: bytes, filters: Filters) -> Iterator[str]:
    """Yield the lines of a file that count, without comments, empty lines and white space at their ends.

    Bytes that are no text become U+FFFD, so that rubbish is read as lines that mean nothing.
    """
    for raw in content.decode("ascii", errors="replace").split("\n"):
        line = raw.strip(" \t\r\n\0")
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            filters.enter(line[1:-1])
        elif filters.hold:
            yield line
