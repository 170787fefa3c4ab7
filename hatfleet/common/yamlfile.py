"""YAML as data that remembers where it was written.

Every value knows its file and line, so that an error, and later an explanation, can point at the very line. Only
plain data is read: no tag builds an object, a key written twice is an error instead of a silent loss. The one tag of
ours, ``!age``, marks an encrypted value; it stays encrypted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError, SafeConstructor

from hatfleet.common.errors import InputError, Where

Scalar = str | int | float | bool | None

#: libyaml where PyYAML was built with it (ten times faster); both give the same nodes and marks.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Deeper than any configuration; libyaml's composer recurses in C and would take the process down.
MAX_DEPTH = 100

#: Values in one file once aliases are written out: stops a few lines of nested aliases from filling the memory.
MAX_VALUES = 500_000

#: The tag of an encrypted value, and how such a value is shown wherever values are shown.
AGE_TAG = "!age"
AGE_SHOWN = "!age (encrypted)"

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"

_constructor = SafeConstructor()
_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    _TAG + "null": _constructor.construct_yaml_null,
    _TAG + "bool": _constructor.construct_yaml_bool,
    _TAG + "int": _constructor.construct_yaml_int,
    _TAG + "float": _constructor.construct_yaml_float,
    _TAG + "str": _constructor.construct_scalar,
    # A date stays the text it was written as: a settings model that wants a date reads it from there.
    _TAG + "timestamp": _constructor.construct_scalar,
    # Ansible's word for text in which it must not evaluate {{ }}: nothing here ever does.
    "!unsafe": _constructor.construct_scalar,
}

#: What to do about tags that are known, but not read.
_TAG_HINTS = {
    "!vault": "decrypt it with ansible-vault, and encrypt it with: provision secrets encrypt",
    "!vault-encrypted": "decrypt it with ansible-vault, and encrypt it with: provision secrets encrypt",
}


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A value tagged ``!age``, as it was written: an ASCII-armoured age file."""

    armour: str

    def __str__(self) -> str:
        return AGE_SHOWN


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a YAML file: a scalar, an encrypted one, a tuple of nodes, or a mapping from key to node."""

    value: Scalar | Encrypted | tuple[Node, ...] | Mapping[str, Node]
    file: Path
    line: int
    """Where the value begins; for a value in a mapping, the line of its key (1-based)."""
    text: str = ""
    """A scalar as it was written (``0644``), before YAML made 420 of it; empty for everything else."""

    def plain(self, reveal: Callable[[Encrypted], Any] = str) -> Any:
        """Return the value as ordinary Python data, without places.

        Args:
            reveal: What to put in place of an encrypted value; by default the words that it is one.
        """
        if isinstance(self.value, Mapping):
            return {key: child.plain(reveal) for key, child in self.value.items()}
        if isinstance(self.value, tuple):
            return [child.plain(reveal) for child in self.value]
        return reveal(self.value) if isinstance(self.value, Encrypted) else self.value

    def encrypted(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Yield every encrypted value in it with its key path, which starts with ``path``."""
        if isinstance(self.value, Encrypted):
            yield path, self
        elif isinstance(self.value, Mapping):
            for key, child in self.value.items():
                yield from child.encrypted((*path, key))
        elif isinstance(self.value, tuple):
            for index, child in enumerate(self.value):
                yield from child.encrypted((*path, index))

    def child(self, key: str | int) -> Node | None:
        """Return the value under a key or at an index, or None."""
        if isinstance(self.value, Mapping):
            return self.value.get(str(key))
        if isinstance(self.value, tuple) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def find(self, path: Sequence[str | int]) -> Node | None:
        """Return the value at a key path, or None when the path leads nowhere."""
        found: Node | None = self
        for key in path:
            if found is None:
                return None
            found = found.child(key)
        return found

    def where(self, key: str | None = None) -> Where:
        """The place of this value, for an error; ``key`` is its dotted key path."""
        return Where(self.file, self.line, key)

    def mapping(self, what: str, key: str | None = None) -> Mapping[str, Node]:
        """Return the keys of a mapping; an empty value counts as an empty mapping.

        Args:
            what: What the value is, for the error: "the group's vars".
            key: Its dotted key path, for the error.

        Raises:
            InputError: it is something else.
        """
        if self.value is None:
            return {}
        if isinstance(self.value, Mapping):
            return self.value
        raise InputError(
            f"{what} must be a mapping (key: value), found {self.shown()}",
            where=self.where(key),
        )

    def shown(self) -> str:
        """The value as an error message shows it: a scalar as written, a collection by its kind."""
        if isinstance(self.value, Mapping):
            return "a mapping"
        if isinstance(self.value, tuple):
            return "a list"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, Encrypted):
            return AGE_SHOWN
        written = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return repr(written) if isinstance(self.value, str) else written


def load_yaml(path: Path) -> Node:
    """Read one YAML or JSON file; an empty file gives a node whose value is None.

    Raises:
        InputError: the file cannot be read or is not plain YAML; the error names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text: {error.reason} at byte {error.start}",
            where=Where(path),
            hint="save the file as UTF-8",
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the file: {reason}", where=Where(path)) from error
    if path.suffix == ".json":
        # JSON may be indented with tabs, YAML may not; inside a JSON string a raw tab cannot occur.
        text = text.replace("\t", " ")
    return parse_yaml(text, path)


def parse_yaml(text: str, file: Path) -> Node:
    """Read YAML from a string; ``file`` is where it is said to come from.

    Raises:
        InputError: it is not plain YAML; the error names the line.
    """
    try:
        _limit_depth(text, file)
        root = yaml.compose(text, _LOADER)
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from error
    if root is None:
        return Node(None, file, 1)
    return _Builder(file).build(root, root.start_mark.line + 1)


def _limit_depth(text: str, file: Path) -> None:
    depth = 0
    events: Iterator[yaml.Event] = yaml.parse(text, _LOADER)
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InputError(f"nested more than {MAX_DEPTH} levels deep", where=Where(file, _line(event)))


def _line(item: yaml.Node | yaml.Event) -> int:
    return item.start_mark.line + 1 if item.start_mark else 1


class _Builder:
    """Turns PyYAML's nodes into ours, refusing what is not plain data."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.open: set[int] = set()
        self.count = 0

    def build(self, node: yaml.Node, line: int) -> Node:
        self.count += 1
        if self.count > MAX_VALUES:
            raise InputError(f"more than {MAX_VALUES} values once aliases are written out", where=Where(self.file))
        if isinstance(node, yaml.ScalarNode) and node.tag == AGE_TAG:
            return Node(Encrypted(node.value), self.file, line)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node), self.file, line, node.value)
        if id(node) in self.open:
            raise InputError("an alias contains itself", where=Where(self.file, line))
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                self._expect_tag(node, "map")
                return Node(self._mapping(node), self.file, line)
            self._expect_tag(node, "seq")
            items = tuple(self.build(item, _line(item)) for item in node.value)
            return Node(items, self.file, line)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if key_node.tag == _MERGE:
                for source in self._merge_sources(value_node):
                    # The first of several merged mappings wins, and the mapping's own keys win over all.
                    merged = {**source, **merged}
                continue
            key = self._key(key_node)
            if key in own:
                raise InputError(
                    f"the key {key!r} is written twice: first in line {own[key].line}",
                    where=Where(self.file, line, key),
                    hint="YAML would keep only the last one: merge the two, or remove one",
                )
            own[key] = self.build(value_node, line)
        return {**merged, **own}

    def _merge_sources(self, node: yaml.Node) -> Iterator[Mapping[str, Node]]:
        line = _line(node)
        built = self.build(node, line)
        for source in built.value if isinstance(built.value, tuple) else (built,):
            if not isinstance(source.value, Mapping):
                raise InputError(
                    "'<<' merges mappings: it needs an alias of a mapping, or a list of such aliases",
                    where=Where(self.file, line),
                )
            yield source.value

    def _key(self, node: yaml.Node) -> str:
        # The text as written: 'on', 'no' and '22' are the names they look like, not booleans and numbers.
        if isinstance(node, yaml.ScalarNode) and node.value:
            self._scalar(node)
            return str(node.value)
        raise InputError("a key must be a plain word", where=Where(self.file, _line(node)))

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        make = _SCALARS.get(node.tag)
        if make is None:
            raise self._tag_error(node)
        try:
            value: Scalar = make(node)
        except (ValueError, KeyError, ConstructorError) as error:
            raise InputError(
                f"{node.value!r} is not a valid {node.tag.removeprefix(_TAG)}",
                where=Where(self.file, _line(node)),
            ) from error
        return value

    def _expect_tag(self, node: yaml.Node, name: str) -> None:
        if node.tag != _TAG + name:
            raise self._tag_error(node)

    def _tag_error(self, node: yaml.Node) -> InputError:
        tag = str(node.tag)
        shown = tag.replace(_TAG, "!!") if tag.startswith(_TAG) else tag
        return InputError(
            f"the tag {shown} is not supported: only plain data is read",
            where=Where(self.file, _line(node)),
            hint=_TAG_HINTS.get(tag, "write the value without a tag"),
        )


#: PyYAML's wording to ours: (part of its problem or context, what to say, what to do).
_PLAIN_WORDS = (
    ("mapping values are not allowed", "a ':' where none can be", "check the indentation; quote text with ': ' in it"),
    ("undefined alias", "an alias (*name) without its anchor (&name)", "text that begins with * needs quotes"),
    ("scanning an alias", "a '*' that begins no alias", "text that begins with * needs quotes"),
    ("duplicate anchor", "an anchor (&name) is defined twice", None),
    ("single document", "a second document begins here", "one document a file: remove the '---'"),
    ("escape character", "an unknown escape in a double-quoted text", "use single quotes, or write \\\\ for \\"),
    ("quoted scalar", "a quoted text does not end", "add the closing quote"),
    ("flow sequence", "a '[' list does not end as it should", "check the commas and the closing ']'"),
    ("flow mapping", "a '{' mapping does not end as it should", "check the commas and the closing '}'"),
    ("cannot start any token", "a character that cannot begin a value", "text that begins with @ ` or % needs quotes"),
    ("block", "the indentation does not fit the lines above", "keys of one mapping begin in the same column"),
    ("could not find expected ':'", "a key without its ':'", "write 'key: value', with a space after the colon"),
)


def _syntax_error(error: yaml.YAMLError, text: str, file: Path) -> InputError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, int(error.position)) + 1
        return InputError("a control character in the text", where=Where(file, line), hint="remove it")
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    number = mark.line + 1 if mark else 1
    # A value that never ends is noticed at the end of the file; it is the line where it began that needs mending.
    start = getattr(error, "context_mark", None)
    opened = str(getattr(error, "context", None) or "")
    if start and any(part in opened for part in ("flow", "quoted", "simple key")):
        number = start.line + 1
    line_text = lines[number - 1] if number <= len(lines) else ""
    if "\t" in line_text[: len(line_text) - len(line_text.lstrip())]:
        return InputError(
            "a tab in the indentation", where=Where(file, number), hint="YAML is indented with spaces only"
        )
    wording = f"{opened} {getattr(error, 'problem', None) or error}"
    for part, message, hint in _PLAIN_WORDS:
        if part in wording:
            return InputError(f"not valid YAML: {message}", where=Where(file, number), hint=hint)
    return InputError(f"not valid YAML: {wording.strip()}", where=Where(file, number))
