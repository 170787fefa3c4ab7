"""Puts encrypted values into variables files: only the lines of that one value change, comments and all else stay.

Every edit is proven before it is written: the new text is read again, and must say exactly what the old one said but
for that value. What cannot be done so is refused, and is for an editor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hatfleet.common.errors import InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.yamlfile import AGE_TAG, Encrypted, Node, load_yaml, parse_yaml

_INDENT = "  "


def read_text(file: Path) -> str:
    """Return the text of a variables file as it is, line ends included; a file that is not there is empty.

    Raises:
        InputError: it is not valid, or not in YAML's block style.
    """
    if not file.exists():
        return ""
    if file.suffix == ".json":
        raise InputError("JSON has no tags: a secret cannot be in it", where=Where(file), hint="use a YAML file")
    load_yaml(file)
    return file.read_bytes().decode("utf-8-sig")


def write_text(file: Path, text: str) -> None:
    """Write a variables file, whole or not at all; it keeps its permissions, and a link to it stays a link."""
    target = file.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
    try:
        write_atomic(target, text, mode=mode)
    except OSError as error:
        raise InputError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error


def tagged(name: str, armour: str, column: int = 0) -> str:
    """Return ``name: !age |`` and the value below it, as it stands in a variables file."""
    return f"{' ' * column}{name}: {AGE_TAG} |\n{_block(armour, column)}"


def _block(armour: str, column: int) -> str:
    return "\n".join(f"{' ' * column}{_INDENT}{line}" for line in armour.strip().splitlines())


def set_value(text: str, file: Path, key: str, armour: str) -> str:
    """Return the text with an encrypted value at a dotted key: replaced where it stands, or added to its mapping.

    Args:
        text: Content of a variables file.
        file: Its name, for errors.
        key: Dotted key path; a key that itself holds dots is found, too.
        armour: The encrypted value.

    Raises:
        InputError: it cannot be done without touching anything else.
    """
    if not all(key.split(".")):
        raise InputError(f"{key!r} is no key path", hint="write it as role.setting, such as base.admin.password")
    newline = "\r\n" if "\r\n" in text else "\n"
    path, start, end, new = _edit(text.replace("\r\n", "\n"), file, key, armour)
    plain = text.replace("\r\n", "\n")
    changed = plain[:start] + new + plain[end:]
    _prove(plain, changed, file, {path: armour})
    return changed.replace("\n", newline)


def _edit(text: str, file: Path, key: str, armour: str) -> tuple[tuple[str, ...], int, int, str]:
    """Return the key path, what span of the text to replace, and with what."""
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        divider = "" if text.endswith("\n") or not text else "\n"
        return tuple(key.split(".")), len(text), len(text), divider + _nested(key.split("."), armour, 0) + "\n"
    node: yaml.Node = root
    path: tuple[str, ...] = ()
    rest = key
    while True:
        if not isinstance(node, yaml.MappingNode) or node.flow_style:
            raise _refusal(node, file, path)
        found = _entry(node, rest)
        if found is None:
            column = node.value[0][0].start_mark.column
            place = _line_end(text, _content_end(text, *node.value[-1]))
            return (*path, *rest.split(".")), place, place, "\n" + _nested(rest.split("."), armour, column)
        name, value = found
        path = (*path, name.value)
        start = value.start_mark.index
        if start < name.end_mark.index or text[start : start + 1] == "&":
            raise _refusal(name, file, path)
        if name.value == rest:
            if not isinstance(value, yaml.ScalarNode):
                raise _refusal(value, file, path)
            return (path, *_replacement(text, name, value, armour))
        rest = rest[len(name.value) + 1 :]
        if start == value.end_mark.index:
            place = _line_end(text, start)
            column = name.start_mark.column + len(_INDENT)
            return (*path, *rest.split(".")), place, place, "\n" + _nested(rest.split("."), armour, column)
        node = value


def _entry(node: yaml.MappingNode, rest: str) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    """Return the entry of a mapping that a dotted key leads through; the longest key, as host names hold dots."""
    fitting = [entry for entry in node.value if rest == entry[0].value or rest.startswith(f"{entry[0].value}.")]
    return max(fitting, key=lambda entry: len(entry[0].value), default=None)


def _nested(names: Sequence[str], armour: str, column: int) -> str:
    *outer, last = names
    lines = [f"{' ' * column}{_INDENT * depth}{name}:" for depth, name in enumerate(outer)]
    return "\n".join([*lines, tagged(last, armour, column + len(_INDENT) * len(outer))])


def _replacement(text: str, name: yaml.Node, value: yaml.ScalarNode, armour: str) -> tuple[int, int, str]:
    """Return the span from a value's beginning to the end of its last line, and what to put there."""
    start = value.start_mark.index
    end = start + len(text[start : value.end_mark.index].rstrip())
    if value.style in ("|", ">"):
        header = text[start : _line_end(text, start)]
        comment = header[header.index(" #") :] if " #" in header else ""
    else:
        comment = text[end : _line_end(text, end)].rstrip()
        end = _line_end(text, end)
    space = "" if text[start - 1].isspace() else " "
    return start, end, f"{space}{AGE_TAG} |{comment}\n{_block(armour, name.start_mark.column)}"


def _content_end(text: str, name: yaml.Node, value: yaml.Node) -> int:
    """Return where the text of a mapping's entry ends, without the blank lines and comments behind it."""
    start, end = value.start_mark.index, value.end_mark.index
    if start < name.end_mark.index:  # an alias: the value stands elsewhere
        return int(name.end_mark.index)
    if isinstance(value, yaml.MappingNode) and not value.flow_style:
        return _content_end(text, *value.value[-1])
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return _content_end(text, name, value.value[-1])
    return int(start) + len(text[start:end].rstrip())


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _refusal(node: yaml.Node, file: Path, path: Sequence[str]) -> InputError:
    return InputError(
        "a value cannot be put here safely: this is a list, a flow mapping, an anchor or alias, or not a mapping",
        where=Where(file, node.start_mark.line + 1, ".".join(path) or None),
        hint="print the value with --name, and put it in with an editor",
    )


def replace_encrypted(text: str, file: Path, renew: Callable[[Node, str], str]) -> str:
    """Return the text with every encrypted value replaced.

    Args:
        text: Content of a variables file.
        file: Its name, for errors.
        renew: Gets the old value and its dotted key, returns the new armour.

    Raises:
        InputError: a value is not written as a block (``!age |``).
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    plain = text.replace("\r\n", "\n")
    renewed: dict[Encrypted, str] = {}
    expected = {}
    for path, node in parse_yaml(plain, file).encrypted():
        assert isinstance(node.value, Encrypted)
        if node.value not in renewed:
            renewed[node.value] = renew(node, ".".join(map(str, path)))
        expected[path] = renewed[node.value]
    changed = plain
    for place in sorted(_places(plain), key=lambda place: place.start, reverse=True):
        segment = plain[place.start : place.end]
        header, _, body = segment.partition("\n")
        if not place.block or not body:
            raise InputError(
                "the secret is not written as a block", where=Where(file, place.line), hint="write it as: key: !age |"
            )
        indent = body[: len(body) - len(body.lstrip())]
        lines = "\n".join(f"{indent}{line}" for line in renewed[Encrypted(place.value)].splitlines())
        changed = f"{changed[: place.start]}{header}\n{lines}{changed[place.end :]}"
    _prove(plain, changed, file, expected)
    return changed.replace("\n", newline)


@dataclass(frozen=True)
class _Place:
    """Where an encrypted value stands in a text."""

    start: int
    end: int
    line: int
    value: str
    block: bool


def _places(text: str) -> Iterator[_Place]:
    seen: set[int] = set()  # an alias leads to the same node again, and its text stands there once
    waiting = [yaml.compose(text, yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.tag == AGE_TAG:
                start = int(node.start_mark.index)
                end = start + len(text[start : node.end_mark.index].rstrip())
                yield _Place(start, end, node.start_mark.line + 1, node.value, node.style == "|")
        else:
            waiting += [child for entry in node.value for child in (entry if isinstance(entry, tuple) else (entry,))]


def _prove(before: str, after: str, file: Path, expected: dict[tuple[Any, ...], str]) -> None:
    """Check that the new text says what the old one said but for the values expected.

    Raises:
        InputError: it does not.
    """
    old, new = (_flat(parse_yaml(text, file)) for text in (before, after))
    for path, armour in expected.items():
        old = {known: value for known, value in old.items() if known != path[: len(known)] or value is not None}
        old[path] = Encrypted(armour.strip())
    if old != new:
        raise InputError(
            "the value cannot be put here without changing others",
            where=Where(file),
            hint="anchors and aliases make one value stand in several places: use an editor",
        )


def _flat(node: Node, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """Return every leaf of a value by its key path."""
    if isinstance(node.value, Encrypted):
        return {path: Encrypted(node.value.armour.strip())}
    if isinstance(node.value, str | int | float | None) or not node.value:
        return {path: node.text if node.text else node.plain()}
    children = node.value.items() if not isinstance(node.value, tuple) else enumerate(node.value)
    return {leaf: value for key, child in children for leaf, value in _flat(child, (*path, key)).items()}
