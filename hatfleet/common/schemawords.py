"""What a JSON schema allows, in words, and the way through its references.

Error messages, the reference documentation and ``--help`` all describe a setting from its schema, so that they
cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]


def resolve(field: Schema, root: Schema) -> Schema:
    """Follow the ``$ref`` of a field; keys beside it (default, description) are kept."""
    reference = field.get("$ref")
    if reference is None:
        return field
    target = root["$defs"][reference.rpartition("/")[2]]
    return {**resolve(target, root), **{key: value for key, value in field.items() if key != "$ref"}}


def descend(field: Schema, step: str | int, root: Schema) -> Schema | None:
    """Return the schema of a key or of a list's entries, or None when the schema has no such place."""
    for branch in _branches(field, root):
        inner = descend(branch, step, root)
        if inner is not None:
            return inner
    if isinstance(step, int):
        inner = field.get("items")
    else:
        inner = field.get("properties", {}).get(step) or field.get("additionalProperties")
    return resolve(inner, root) if isinstance(inner, dict) else None


def known_keys(field: Schema, root: Schema) -> list[str]:
    """Return the names of a mapping's keys, of all branches of a union."""
    own = list(field.get("properties", {}))
    for branch in _branches(field, root):
        own += known_keys(branch, root)
    return own


def is_secret(field: Schema, root: Schema) -> bool:
    """Whether a field is declared as a secret (``SecretStr``, ``SecretBytes``, or one of them or nothing)."""
    branches = [branch for branch in _branches(field, root) if branch.get("type") != "null"]
    return all(is_secret(branch, root) for branch in branches) if branches else field.get("writeOnly") is True


def describe(field: Schema, root: Schema) -> str:
    """Say in words what is allowed: ``an integer from 1 to 10 (default 4)``."""
    words = _describe(field, root)
    if "default" in field and not isinstance(field["default"], dict | list):
        words += f" (default {'nothing' if field['default'] is None else shown(field['default'])})"
    return words


def shown(value: Any) -> str:
    """A value as it is written in YAML; text with blanks in it in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if re.fullmatch(r"\S+", text) else repr(text)


def _branches(field: Schema, root: Schema) -> list[Schema]:
    return [resolve(branch, root) for branch in field.get("anyOf") or field.get("oneOf") or ()]


def _describe(field: Schema, root: Schema) -> str:
    if "enum" in field:
        return f"one of {', '.join(map(shown, field['enum']))}"
    if "const" in field:
        return shown(field["const"])
    branches = _branches(field, root)
    if branches:
        return " or ".join(dict.fromkeys(_describe(branch, root) for branch in branches))
    words = _TYPES.get(field.get("type", ""))
    return words(field, root) if words else "any value"


def _text(field: Schema, _root: Schema) -> str:
    words = _FORMATS.get(field.get("format", ""), "text") + _count(field, "Length", "characters")
    return words + (f" matching {field['pattern']}" if "pattern" in field else "")


def _list(field: Schema, root: Schema) -> str:
    words = "a list" + _count(field, "Items", "entries")
    items = field.get("items")
    return f"{words}, each {_describe(resolve(items, root), root)}" if items else words


def _mapping(field: Schema, _root: Schema) -> str:
    keys = ", ".join(field.get("properties", {}))
    return f"a mapping with the keys {keys}" if keys else "a mapping"


def _range(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = (("minimum", "of at least"), ("exclusiveMinimum", "above"), ("maximum", "of at most"))
    parts = [f" {words} {field[key]}" for key, words in (*bounds, ("exclusiveMaximum", "below")) if key in field]
    return " and".join(parts)


def _count(field: Schema, suffix: str, unit: str) -> str:
    low, high = field.get(f"min{suffix}"), field.get(f"max{suffix}")
    if low is not None and high is not None:
        return f" of {low} to {high} {unit}"
    if low is not None:
        return f" of at least {low} {unit}"
    return f" of at most {high} {unit}" if high is not None else ""


_FORMATS = {
    "password": "a secret, encrypted with !age",
    "path": "a path",
    "file-path": "the path of a file",
    "date": "a date (2026-01-31)",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "ipv4network": "an IPv4 network",
    "ipv6network": "an IPv6 network",
    "ipvanyaddress": "an IP address",
    "ipvanynetwork": "an IP network",
    "duration": "a duration",
}

_TYPES: dict[str, Callable[[Schema, Schema], str]] = {
    "integer": lambda field, _root: "an integer" + _range(field),
    "number": lambda field, _root: "a number" + _range(field),
    "boolean": lambda _field, _root: "true or false",
    "string": _text,
    "array": _list,
    "object": _mapping,
    "null": lambda _field, _root: "nothing",
}
