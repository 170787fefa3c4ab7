"""Errors that are told to people, without a traceback."""

from __future__ import annotations


class HatserveError(Exception):
    """Something failed that the admin can do something about.

    Attributes:
        hint: What to do next, or None.
        exit_code: What the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(HatserveError):
    """What was asked for cannot be asked for."""

    exit_code = 2


class ConfigError(HatserveError):
    """A file that configures this device is wrong."""

    exit_code = 2
