"""What a settings model says about one setting: its default and its description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python


@dataclass(frozen=True)
class Declared:
    """A setting as its model declares it."""

    description: str | None
    has_default: bool
    """Whether there is a value when the inventory gives none."""
    default: Any
    """That value as plain data; a secret is masked."""


def declared(model: type[BaseModel], path: Sequence[str]) -> Declared | None:
    """Return what a model declares at a key path, or None where it knows no such key.

    A path that leads into a free mapping or a list (``labels.rack``) gives the description of what it leads into.
    """
    field = model.model_fields.get(path[0]) if path else None
    if field is None:
        return None
    if len(path) == 1:
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        return Declared(field.description, not field.is_required(), to_jsonable_python(default))
    inner = _model_of(field)
    if inner is None:
        return Declared(field.description, has_default=False, default=None)
    found = declared(inner, path[1:])
    if found is None or field.is_required():
        return found
    # A field may give its group other defaults than the group's own.
    value = to_jsonable_python(field.get_default(call_default_factory=True))
    for key in path[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    return Declared(found.description, found.has_default or value is not None, value)


def setting_paths(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the key paths of all settings of a model, those of nested groups one by one."""
    for name, field in model.model_fields.items():
        inner = _model_of(field)
        if inner is None:
            yield (*prefix, name)
        else:
            yield from setting_paths(inner, (*prefix, name))


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a group of settings."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
