"""The options that say where batches run, and how many hosts at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hatfleet.fleet.executor import DEFAULT_FORKS, Executor
from hatfleet.fleet.executor_local import LocalExecutor

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)

OPTIONS = (
    click.option(
        "--forks",
        type=click.IntRange(min=1),
        default=DEFAULT_FORKS,
        show_default=True,
        metavar="N",
        help="How many hosts to work on at once.",
    ),
)


def executor_options(command: F) -> F:
    """Add the options; the command hands them to ``make_executor`` by keyword."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def make_executor(forks: int) -> Executor:
    """Return the executor that the options ask for."""
    return LocalExecutor(forks)
