"""A pydantic model against YAML: every error with its line, what was found and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hatfleet.common.errors import InputError, InputErrors, Where, nearest
from hatfleet.common.redact import Redactor
from hatfleet.common.schemawords import Schema, descend, describe, is_secret, known_keys, resolve
from hatfleet.common.yamlfile import AGE_SHOWN, Encrypted, Node

Model = TypeVar("Model", bound=BaseModel)


class UnrevealedError(InputError):
    """Whether the value is right depends on encrypted values that were not decrypted; the rest of it is right."""


def validate(
    model: type[Model],
    node: Node | None,
    prefix: Sequence[str] = (),
    revealed: Mapping[Encrypted, str] | None = None,
) -> Model:
    """Build a model from a YAML value.

    An encrypted value may stand only, and must stand, where the model has a ``SecretStr`` or ``SecretBytes``.

    Args:
        model: The model; its constraints and descriptions are also what errors explain.
        node: The value; None stands for an empty mapping, so that defaults hold.
        prefix: The keys that lead to the value, for the key paths in errors ("harden").
        revealed: What the encrypted values in it say. Without it they are only words that say so, and are not judged.

    Raises:
        InputErrors: every mistake in the value, each with its place; none shows a secret.
        UnrevealedError: there is no mistake but what an encrypted value might be the cause of.
    """
    misplaced = [*misplaced_secrets(model, node, prefix)]
    try:
        reveal = str if revealed is None else revealed.__getitem__
        built = model.model_validate({} if node is None or node.value is None else node.plain(reveal))
    except ValidationError as error:
        schema = _schema(model)
        found = error.errors(include_url=False, include_context=True)
        if revealed is None:
            found = [detail for detail in found if not _hinges_on_secret(detail, schema, node)]
        places = {str(mistake.where) for mistake in misplaced}
        explained = (_explain(detail, schema, node, prefix) for detail in found)
        mistakes = misplaced + _merge_branches([new for new in explained if str(new.where) not in places])
        if not mistakes:
            raise UnrevealedError("not judged, because it holds encrypted values") from error
        raise InputErrors(_redacted(mistakes, (revealed or {}).values())) from error
    if misplaced:
        raise InputErrors(misplaced)
    return built


def misplaced_secrets(model: type[BaseModel], node: Node | None, prefix: Sequence[str] = ()) -> Iterator[InputError]:
    """Yield an error for every plain value where the model has a secret, and for every secret where it has none."""
    schema = _schema(model)
    if node is not None and ('"writeOnly"' in _schema_text(model) or any(node.encrypted())):
        yield from _misplaced(node, resolve(schema, schema), schema, prefix)


def _misplaced(node: Node, field: Schema, schema: Schema, path: Sequence[str]) -> Iterator[InputError]:
    secret = is_secret(field, schema)
    if isinstance(node.value, Encrypted) and not secret:
        yield InputError(
            f"found {AGE_SHOWN}, but this is not declared as a secret: its value would be shown",
            where=node.where(".".join(path)),
            hint="write it in plain text, or declare it as SecretStr in the role's settings.py",
        )
    elif secret and not isinstance(node.value, Encrypted | None):
        yield InputError(
            "found plain text where a secret is declared: it must be encrypted",
            where=node.where(".".join(path)),
            hint="make a new one, as this one may be known, and put it here with: provision secrets encrypt",
        )
    elif isinstance(node.value, Mapping):
        for key, child in node.value.items():
            inner = descend(field, key, schema)
            # An unknown key is an error of its own.
            if inner is not None or field.get("additionalProperties") is not False:
                yield from _misplaced(child, inner or {}, schema, [*path, key])
    elif isinstance(node.value, tuple):
        for index, child in enumerate(node.value):
            yield from _misplaced(child, descend(field, index, schema) or {}, schema, [*path, str(index)])


def _hinges_on_secret(detail: ErrorDetails, schema: Schema, node: Node | None) -> bool:
    """Whether an error may come from the words that stand for an encrypted value, or from a rule over several."""
    _, target, _ = _locate(detail, schema, node)
    if target is None or detail["type"] == "extra_forbidden":
        return False
    if isinstance(target.value, Encrypted):
        return True
    return detail["type"] in ("value_error", "assertion_error") and any(target.encrypted())


def _redacted(errors: Sequence[InputError], secrets: Iterable[str]) -> list[InputError]:
    """Cover secrets in the words of errors: a model's own validator may quote what it was given."""
    redact = Redactor(secrets).text
    return [
        InputError(redact(error.message), hint=error.hint and redact(error.hint), where=error.where) for error in errors
    ]


@cache
def _schema(model: type[BaseModel]) -> Schema:
    """Return a model's JSON schema: made once, it takes longer than explaining a hundred errors."""
    return model.model_json_schema()


@cache
def _schema_text(model: type[BaseModel]) -> str:
    return json.dumps(_schema(model), default=str)


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
