"""The base of every role's settings model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings: every field typed, with a default and a description; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RoleSettings(Settings):
    """What a role's ``settings.py`` derives its one ``RoleSettings`` subclass, named ``Settings``, from."""
