"""Host names in patterns: ranges in an inventory (``edge[01:20]``) and the selection of ``--limit``."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator
from fnmatch import fnmatchcase

from hatfleet.common.errors import InputError, Where, nearest
from hatfleet.fleet.inventory_model import Inventory

_RANGE = re.compile(r"\[([^\[\]:]*):([^\[\]:]+)(?::([^\[\]:]+))?\]")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_GLOB = re.compile(r"[*?\[]")

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
    if _RANGE.search(pattern):
        literal = _RANGE.split(pattern)[0::4]
        choices = [_range(match, where) for match in _RANGE.finditer(pattern)]
        total = 1
        for choice in choices:
            total *= len(choice)
        if total > MAX_RANGE:
            raise InputError(f"{pattern} stands for {total} hosts, more than {MAX_RANGE}", where=where)
        names = ["".join(_interleave(literal, picked)) for picked in itertools.product(*choices)]
    for name in names:
        check_name(name, "host", where)
    return names


def check_name(name: str, kind: str, where: Where) -> None:
    """Refuse names that could be mistaken for a pattern, a path or an option.

    Raises:
        InputError: the name holds anything but letters, digits, ``.``, ``_`` and ``-``.
    """
    if _NAME.fullmatch(name):
        return
    hint = None
    if kind == "host" and ":" in name:
        hint = "give the host a name, and its address and port as ansible_host and ansible_port"
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


def select_hosts(inventory: Inventory, limit: str | None) -> list[str]:
    """Return the hosts that ``--limit`` selects, in the order of the inventory; all of them without a limit.

    The limit is a list of terms, divided by commas or colons: a host, a group or a glob (``edge*``) adds hosts, then
    ``&term`` keeps only those that are also in it, then ``!term`` takes hosts away. With only ``&`` and ``!`` terms it
    starts from all hosts, as Ansible does.

    Raises:
        InputError: a term matches nothing, or no host is left.
    """
    if limit is None:
        return list(inventory.hosts)
    terms = [term for part in re.split(r"[,:](?![^\[]*\])", limit) if (term := part.strip())]
    adding = [term for term in terms if term[0] not in "!&"]
    chosen = set().union(*(_match(inventory, term) for term in adding)) if adding else set(inventory.hosts)
    for term in terms:
        if term.startswith("&"):
            chosen &= _match(inventory, term[1:])
    for term in terms:
        if term.startswith("!"):
            chosen -= _match(inventory, term[1:])
    if not terms or not chosen:
        raise InputError(
            f"--limit {limit!r} selects no host",
            hint="see the hosts and groups with: provision inventory --graph",
        )
    return [name for name in inventory.hosts if name in chosen]


def _match(inventory: Inventory, term: str) -> set[str]:
    if _RANGE.search(term):
        raise InputError(
            f"--limit takes no range such as {term!r}", hint="use a glob (edge0*) or name the hosts, with commas"
        )
    if _GLOB.search(term):
        groups = [name for name in inventory.groups if fnmatchcase(name, term)]
        hosts = {name for name in inventory.hosts if fnmatchcase(name, term)}
        if not groups and not hosts:
            raise InputError(f"--limit: no host or group matches {term!r}", hint=_what_there_is(inventory))
        return hosts.union(*(inventory.members(group) for group in groups))
    if term in inventory.groups and term in inventory.hosts:
        raise InputError(
            f"--limit: {term!r} is both a host and a group", hint="rename one of them, or name the hosts you mean"
        )
    if term in inventory.groups:
        return set(inventory.members(term))
    if term in inventory.hosts:
        return {term}
    close = nearest(term, [*inventory.hosts, *inventory.groups])
    raise InputError(
        f"--limit: unknown host or group {term!r}",
        hint=f"did you mean {close!r}?" if close else _what_there_is(inventory),
    )


def _what_there_is(inventory: Inventory) -> str:
    hosts = list(inventory.hosts)
    shown = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
    return f"groups: {', '.join(inventory.groups)}; hosts: {shown or 'none'}"
