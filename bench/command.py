"""What the measuring commands share: a place to work in, where results go, and how errors end."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hatfleet.cli.main import print_error
from hatfleet.common.errors import HatfleetError
from hatfleet.common.files import write_atomic
from hatfleet.common.paths import cache_dir

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """Give an empty folder while the block runs; nodes can be made in it."""
    parent = cache_dir() / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{purpose}-") as folder:
        yield Path(folder)


def write_result(name: str, result: object) -> None:
    """Write ``out/bench-<name>.json``."""
    write_atomic(ROOT / "out" / f"bench-{name}.json", json.dumps(result, indent=1) + "\n")


def end_with(main: Callable[[], bool]) -> NoReturn:
    """Run a command and exit: 0 when what it promises was kept, 1 when not, an error's own status otherwise."""
    try:
        kept = main()
    except HatfleetError as error:
        print_error(error)
        sys.exit(int(error.exit_code))
    sys.exit(0 if kept else 1)
