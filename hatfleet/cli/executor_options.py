"""The options that say where batches run, and how many hosts at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.executors.base import DEFAULT_FORKS, Executor
from hatfleet.fleet.executors.local import LocalExecutor

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)

_OPTIONS = (
    click.option(
        "--forks",
        type=click.IntRange(min=1),
        default=DEFAULT_FORKS,
        show_default=True,
        metavar="N",
        help="How many hosts to work on at once.",
    ),
    click.option(
        "--scheduler",
        metavar="tls://HOST:PORT",
        help="Run on a Dask cluster instead of this machine: its scheduler. See docs/how-to/rollout.md.",
    ),
    click.option("--tls-ca", type=_FILE, metavar="FILE", help="CA certificate of the cluster.  [default: Dask's]"),
    click.option("--tls-cert", type=_FILE, metavar="FILE", help="Our certificate for it.  [default: Dask's]"),
    click.option("--tls-key", type=_FILE, metavar="FILE", help="The key of our certificate.  [default: Dask's]"),
)


def executor_options(command: F) -> F:
    """Add the options; the command hands them to ``make_executor`` by keyword."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_executor(
    site: Path, *, forks: int, scheduler: str | None, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None
) -> Executor:
    """Return the executor that the options ask for.

    Raises:
        InputError: the options do not go together, or Dask is not installed.
        UnreachableError: the scheduler does not answer.
    """
    if scheduler is None:
        if tls_ca or tls_cert or tls_key:
            raise click.UsageError("--tls-ca, --tls-cert and --tls-key go with --scheduler")
        return LocalExecutor(forks)
    try:
        from hatfleet.fleet.executors.cluster import DaskExecutor, connect
    except ModuleNotFoundError as error:
        raise InputError(
            f"--scheduler needs Dask, which is not installed here ({error})", hint="pip install 'hatfleet[dask]'"
        ) from error
    return DaskExecutor(connect(scheduler, tls_ca, tls_cert, tls_key), Site(site), forks)
