"""What the commands that look at this device share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from hatserve.errors import UsageError
from hatserve.system import System


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to print, and which system to look at."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="look at the files below DIR (default: /)"
    )
    parser.add_argument("--proc", type=Path, metavar="DIR", help="where the processes are (default: ROOT/proc)")


def system_of(arguments: argparse.Namespace) -> System:
    """Return the system that the options name.

    Raises:
        UsageError: there is no such folder.
    """
    for folder in (arguments.root, arguments.proc):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"there is no folder {folder}")
    return System(arguments.root.resolve(), arguments.proc)


def print_table(rows: Iterable[tuple[str, str]]) -> None:
    """Print pairs of a heading and a value, the values below each other."""
    lines = list(rows)
    width = max(len(heading) for heading, _ in lines)
    for heading, value in lines:
        print(f"{heading:<{width}}  {value}".rstrip())
