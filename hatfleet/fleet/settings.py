"""The base of every role's settings model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr


class Settings(BaseModel):
    """A group of settings: every field typed, with a default and a description; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RoleSettings(Settings):
    """What a role's ``settings.py`` derives its one ``RoleSettings`` subclass, named ``Settings``, from."""


def disclose(dumped: Any, show: Callable[[str], str]) -> Any:
    """Return dumped settings with every ``SecretStr`` and ``SecretBytes`` replaced by ``show`` of its text."""
    if isinstance(dumped, dict):
        return {key: disclose(item, show) for key, item in dumped.items()}
    if isinstance(dumped, list | tuple | set | frozenset):
        return [disclose(item, show) for item in dumped]
    if isinstance(dumped, SecretStr):
        return show(dumped.get_secret_value())
    return show(dumped.get_secret_value().decode()) if isinstance(dumped, SecretBytes) else dumped
