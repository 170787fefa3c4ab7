"""What ``--limit`` selects: Ansible's host patterns, with an error where Ansible would warn or guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from hatfleet.common.errors import InputError, Where, nearest
from hatfleet.fleet.inventory.model import Inventory
from hatfleet.fleet.inventory.patterns import RANGE, expand_hosts

_GLOB = re.compile(r"[*?\[]")
_SUBSCRIPT = re.compile(r"(?P<of>.+)\[(?:(?P<index>-?[0-9]+)|(?P<first>[0-9]+)[:-](?P<last>[0-9]*))\]")

#: What may stand around a divider without being divided, in names and globs, and in regular expressions.
_BRACKETS = {"[": "]"}
_REGEX_BRACKETS = {"[": "]", "(": ")", "{": "}"}


@dataclass(frozen=True)
class Term:
    """One term of a limit."""

    text: str
    """As written, without its sign."""
    sign: str = ""
    """``!``: take away, ``&``: keep only these, empty: add."""
    where: Where | None = None
    """The line of the limit file that it stands in."""


def select_hosts(inventory: Inventory, limit: str | None) -> list[str]:
    """Return the hosts that ``--limit`` selects, in the order of the inventory; all of them without a limit.

    The limit is a list of terms, divided by commas, colons or blanks. Terms add hosts, then ``&term`` keeps only those
    that are also in it, then ``!term`` takes hosts away. With only ``&`` and ``!`` terms it starts from all hosts. A
    term is a host, a group, a glob (``edge*``), a regular expression that names begin with (``~edge0[1-4]``), a
    subscript (``rack_a[0]``, ``rack_a[0:2]`` with both ends, ``rack_a[-1]``), a range of names (``edge[01:03]``), or
    ``@file``, a file with a limit a line and comments behind ``#``.

    Raises:
        InputError: a term matches nothing or can be read in two ways, or no host is left.
    """
    if limit is None:
        return list(inventory.hosts)
    terms = list(_terms(limit))
    matcher = _Matcher(inventory)
    found = [(term.sign, matcher.match(term)) for term in terms]
    adding = [hosts for sign, hosts in found if not sign]
    chosen = set().union(*adding) if adding else set(inventory.hosts)
    for sign, hosts in found:
        if sign == "&":
            chosen &= hosts
    for sign, hosts in found:
        if sign == "!":
            chosen -= hosts
    if not terms or not chosen:
        raise InputError(
            f"--limit {limit!r} selects no host",
            hint="see the hosts and groups with: provision inventory --graph",
        )
    return [name for name in inventory.hosts if name in chosen]


def check_limit_file(inventory: Inventory, file: Path) -> Iterator[InputError]:
    """Yield what is wrong with a file that ``--limit @file`` is to read: each line by itself.

    Raises:
        InputError: the file cannot be read.
    """
    matcher = _Matcher(inventory)
    for term in _file_terms(file):
        try:
            matcher.match(term)
        except InputError as error:
            yield error


def _terms(limit: str, where: Where | None = None) -> Iterator[Term]:
    for text in _split(limit):
        sign = text[0] if text[0] in "!&" else ""
        body = text.removeprefix(sign)
        if not body.startswith("@"):
            yield Term(body, sign, where)
        elif sign or where:
            raise InputError(
                f"--limit: {text!r}: a file of patterns is only read as a term of its own, @FILE",
                where=where,
                hint="put the sign into the lines of the file" if sign else "a limit file cannot name another",
            )
        else:
            yield from _file_terms(Path(body[1:]).expanduser())


def _file_terms(file: Path) -> Iterator[Term]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(
            f"--limit: cannot read the file: {reason}",
            where=Where(file),
            hint="the file holds a pattern a line: a host, a group, a glob …",
        ) from error
    for number, line in enumerate(lines, 1):
        # A name holds no '#', so that a comment needs no blank before it.
        yield from _terms(line.partition("#")[0], Where(file, number))


def _split(limit: str) -> Iterator[str]:
    """Divide a limit into its terms; what stands in brackets is not divided, in a regular expression also (…), {…}."""
    term = ""
    open_brackets: list[str] = []
    for char in limit:
        if not open_brackets and (char in ",:" or char.isspace()):
            if term:
                yield term
            term = ""
            continue
        term += char
        pairs = _REGEX_BRACKETS if term.lstrip("!&").startswith("~") else _BRACKETS
        if open_brackets and char == open_brackets[-1]:
            open_brackets.pop()
        elif char in pairs and open_brackets[-1:] != ["]"]:
            open_brackets.append(pairs[char])
    if term:
        yield term


class _Matcher:
    """Finds the hosts of a term in an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def match(self, term: Term) -> set[str]:
        """Return the hosts of a term.

        Raises:
            InputError: there are none, or two readings of it give different ones.
        """
        try:
            return set(self._match(term.text))
        except InputError as error:
            raise InputError(f"--limit: {error.message}", hint=error.hint, where=term.where) from error

    def _match(self, text: str) -> list[str]:
        if text.startswith("~"):
            return self._regex(text) or self._nothing(text)
        if text in self._inventory.hosts or text in self._inventory.groups:
            return self._named(text)
        if "[" not in text:
            return self._glob(text) or self._nothing(text)
        # edge[0:2] may be the first three hosts of the group edge or the hosts edge0 to edge2, and edge[12] also the
        # hosts edge1 and edge2. Ansible takes the first; changing hosts that nobody meant is worse than asking.
        readings = [found for found in (self._subscript(text), self._range(text), self._glob(text)) if found]
        if not readings:
            self._nothing(text)
        for other in readings[1:]:
            if set(other) != set(readings[0]):
                raise InputError(
                    f"{text!r} can be read in two ways: as {_few(readings[0])}, or as {_few(other)}",
                    hint="name the hosts you mean, divided by commas",
                )
        return readings[0]

    def _named(self, text: str) -> list[str]:
        if text in self._inventory.hosts and text in self._inventory.groups:
            raise InputError(
                f"{text!r} is both a host and a group", hint="rename one of them, or name the hosts you mean"
            )
        return [text] if text in self._inventory.hosts else self._inventory.members_in_order(text)

    def _regex(self, text: str) -> list[str]:
        try:
            regex = re.compile(text[1:])
        except re.error as error:
            raise InputError(f"{text!r} is not a regular expression: {error}") from error
        groups = [name for name in self._inventory.groups if regex.match(name)]
        return self._of_groups(groups) + [name for name in self._inventory.hosts if regex.match(name)]

    def _glob(self, text: str) -> list[str]:
        if not _GLOB.search(text) or RANGE.search(text):
            return []
        groups = [name for name in self._inventory.groups if fnmatchcase(name, text)]
        return self._of_groups(groups) + [name for name in self._inventory.hosts if fnmatchcase(name, text)]

    def _of_groups(self, groups: Iterable[str]) -> list[str]:
        return [host for group in groups for host in self._inventory.members_in_order(group)]

    def _subscript(self, text: str) -> list[str]:
        match = _SUBSCRIPT.fullmatch(text)
        if not match:
            return []
        of = match["of"]
        hosts = self._named(of) if of in self._inventory.hosts or of in self._inventory.groups else self._glob(of)
        if not hosts:
            return []
        if match["index"]:
            index = int(match["index"])
            found = hosts[index : index + 1 or None] if -len(hosts) <= index else []
        else:
            found = hosts[int(match["first"]) : int(match["last"]) + 1 if match["last"] else None]
        if not found:
            raise InputError(
                f"{text!r} is beyond the end: {of} has {len(hosts)} hosts",
                hint=f"the first is {of}[0], the last {of}[-1]",
            )
        return found

    def _range(self, text: str) -> list[str]:
        if not RANGE.search(text) or _GLOB.search(RANGE.sub("", text)):
            return []
        names = expand_hosts(text, Where())
        unknown = [name for name in names if name not in self._inventory.hosts]
        if unknown and len(unknown) < len(names):
            raise InputError(f"{text!r} names hosts that are not there: {_few(unknown)}", hint=self._what_there_is())
        return [] if unknown else names

    def _nothing(self, text: str) -> NoReturn:
        if _GLOB.search(text) or text.startswith("~"):
            raise InputError(f"no host or group matches {text!r}", hint=self._what_there_is())
        close = nearest(text, [*self._inventory.hosts, *self._inventory.groups])
        hint = f"did you mean {close!r}?" if close else self._what_there_is()
        raise InputError(f"unknown host or group {text!r}", hint=hint)

    def _what_there_is(self) -> str:
        return f"groups: {_few(list(self._inventory.groups))}; hosts: {_few(list(self._inventory.hosts)) or 'none'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
