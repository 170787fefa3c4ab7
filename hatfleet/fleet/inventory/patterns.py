"""Names in an inventory: what a name may be, and the ranges that stand for many (``edge[01:20]``)."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator

from hatfleet.common.errors import InputError, Where

RANGE = re.compile(r"\[([^\[\]:]*):([^\[\]:]+)(?::([^\[\]:]+))?\]")
_NAME = re.compile(r"\w[\w.-]*")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]{1,5})")

#: More hosts than any fleet this tool is meant for; a typing error in a range must not fill the memory.
MAX_RANGE = 100_000


def expand_hosts(pattern: str, where: Where) -> list[str]:
    """Return the host names that a name in an inventory stands for.

    ``edge[01:03]`` is edge01, edge02, edge03 (the width of the first number is kept), ``rack[a:c]`` goes by letters,
    ``[0:9:3]`` has a step, and a name may hold several ranges.

    Raises:
        InputError: not a host name, or a range that makes no sense.
    """
    names = [pattern]
    if RANGE.search(pattern):
        literal = RANGE.split(pattern)[0::4]
        choices = [_range(match, where) for match in RANGE.finditer(pattern)]
        total = 1
        for choice in choices:
            total *= len(choice)
        if total > MAX_RANGE:
            raise InputError(f"{pattern} stands for {total} hosts, more than {MAX_RANGE}", where=where)
        names = ["".join(_interleave(literal, picked)) for picked in itertools.product(*choices)]
    for name in names:
        check_name(name, "host", where)
    return names


def split_port(pattern: str) -> tuple[str, int | None]:
    """Split ``edge01:2222`` into the name (or range of names) and the port behind it, if there is one."""
    match = _WITH_PORT.fullmatch(pattern)
    return (match.group(1), int(match.group(2))) if match else (pattern, None)


def check_name(name: str, kind: str, where: Where) -> None:
    """Refuse names that could be mistaken for a pattern, a path or an option.

    Raises:
        InputError: the name holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if _NAME.fullmatch(name):
        return
    hint = None
    if kind == "host" and ":" in name:
        hint = "give the host a name, and its address as ansible_host"
    raise InputError(
        f"{name!r} is not a {kind} name: letters, digits, '.', '_' and '-' are allowed", where=where, hint=hint
    )


def _interleave(literal: list[str], picked: tuple[str, ...]) -> Iterator[str]:
    for text, choice in itertools.zip_longest(literal, picked, fillvalue=""):
        yield text
        yield choice


def _range(match: re.Match[str], where: Where) -> list[str]:
    first, last, step_text = match.group(1) or "0", match.group(2), match.group(3) or "1"
    step = int(step_text) if step_text.isdecimal() else 0
    if step < 1:
        raise InputError(f"the step of {match.group()} must be a whole number above 0", where=where)
    if first.isdecimal() and last.isdecimal():
        numbers = range(int(first), int(last) + 1, step)
        if not numbers:
            raise InputError(f"the range {match.group()} is empty: {first} is above {last}", where=where)
        if len(numbers) > MAX_RANGE:
            raise InputError(f"{match.group()} stands for more than {MAX_RANGE} hosts", where=where)
        padded = first.startswith("0") and len(first) > 1
        if padded and len(first) != len(last):
            raise InputError(
                f"{match.group()} begins with {len(first)} digits and ends with {len(last)}",
                where=where,
                hint=f"write both with the same width, such as [{first.zfill(len(last))}:{last.zfill(len(first))}]",
            )
        return [str(number).zfill(len(first) if padded else 0) for number in numbers]
    letters = string.ascii_letters
    if len(first) == len(last) == 1 and first in letters and last in letters:
        begin, end = letters.index(first), letters.index(last)
        if begin <= end:
            return list(letters[begin : end + 1 : step])
    raise InputError(
        f"the range {match.group()} is not understood", where=where, hint="ranges look like [01:20], [0:9:3] or [a:f]"
    )
