"""A pydantic model against YAML: every error with its line, what was found and what is allowed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hatfleet.common.errors import InputError, InputErrors, Where, nearest
from hatfleet.common.schemawords import Schema, descend, describe, known_keys, resolve
from hatfleet.common.yamlfile import Node

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], node: Node | None, prefix: Sequence[str] = ()) -> Model:
    """Build a model from a YAML value.

    Args:
        model: The model; its constraints and descriptions are also what errors explain.
        node: The value; None stands for an empty mapping, so that defaults hold.
        prefix: The keys that lead to the value, for the key paths in errors ("harden").

    Raises:
        InputErrors: every mistake in the value, each with its place.
    """
    try:
        return model.model_validate({} if node is None or node.value is None else node.plain())
    except ValidationError as error:
        schema = _schema(model)
        found = error.errors(include_url=False, include_context=True)
        raise InputErrors(_merge_branches([_explain(detail, schema, node, prefix) for detail in found])) from error


@functools.cache
def _schema(model: type[BaseModel]) -> Schema:
    """Return a model's JSON schema: made once, it takes longer than explaining a hundred errors."""
    return model.model_json_schema()


def _merge_branches(errors: list[InputError]) -> list[InputError]:
    """Keep one error a place: a value that fits no branch of a union is reported by pydantic once a branch."""
    first: dict[tuple[str, str], InputError] = {}
    for error in errors:
        first.setdefault((str(error.where), error.message), error)
    return list(first.values())


def _explain(detail: ErrorDetails, schema: Schema, node: Node | None, prefix: Sequence[str]) -> InputError:
    path, target, field = _locate(detail, schema, node)
    key = ".".join([*prefix, *map(str, path)])
    where = target.where(key) if target else Where(key=key)
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, schema, where)
    allowed = describe(field, schema)
    if detail["type"] == "missing":
        return InputError(f"a value is needed: {allowed}", where=where, hint=field.get("description"))
    found = target.shown() if target else repr(detail["input"])
    reason = detail["msg"]
    if detail["type"] in ("value_error", "assertion_error"):
        # A validator of the model: its own words say more than the schema does.
        return InputError(f"found {found}: {reason.partition(', ')[2] or reason}", where=where)
    hint = field.get("description")
    if target and not isinstance(target.value, str) and target.text and detail["type"] == "string_type":
        hint = f"YAML reads {target.text} as {_kind(target.value)}: put it in quotes"
    return InputError(f"found {found}, allowed is {allowed}", where=where, hint=hint)


def _kind(value: object) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def _locate(detail: ErrorDetails, schema: Schema, node: Node | None) -> tuple[list[str | int], Node | None, Schema]:
    """Return the key path of an error, the deepest value in the file on that path, and its schema.

    pydantic's locations also hold labels of union branches and validators; what is neither in the file nor in the
    schema is such a label.
    """
    path: list[str | int] = []
    field = resolve(schema, schema)
    for step in detail["loc"]:
        deeper = node.child(step) if node else None
        inner = descend(field, step, schema)
        if deeper is None and inner is None:
            continue
        path.append(step)
        node = deeper or node
        field = inner or {}
    return path, node, field


def _unknown_key(path: list[str | int], schema: Schema, where: Where) -> InputError:
    parent = resolve(schema, schema)
    for step in path[:-1]:
        parent = descend(parent, step, schema) or {}
    known = known_keys(parent, schema)
    word = str(path[-1]) if path else ""
    close = nearest(word, known)
    return InputError(
        f"unknown key {word!r}; known here: {', '.join(known) or 'none'}",
        where=where,
        hint=f"did you mean {close!r}?" if close else None,
    )
