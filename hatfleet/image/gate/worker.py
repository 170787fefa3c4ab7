"""The gate in a process of its own, for a tree that only its owner can read: a user namespace, or another account."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from hatfleet.common.errors import HatfleetError
from hatfleet.common.run import run
from hatfleet.image.gate.model import Report
from hatfleet.image.gate.policy import RecipeFacts
from hatfleet.image.gate.scan import judge


@dataclass(frozen=True)
class _Job:
    root: Path
    facts: RecipeFacts


_JOB = TypeAdapter(_Job)
_REPORT = TypeAdapter(Report)


def judge_behind(enter: Sequence[str | Path], root: Path, facts: RecipeFacts) -> Report:
    """Like :func:`hatfleet.image.gate.judge`, as somebody else.

    Args:
        enter: The beginning of a command line that runs the rest of it as the owner of the tree, such as nsenter's.
        root: The root file system, as it is called there.
        facts: What the recipe declares.

    Raises:
        CommandError: it cannot be entered, or something cannot be read there; nothing is proven then.
    """
    command = [*enter, sys.executable, "-P", "-m", "hatfleet.image.gate.worker"]
    return _REPORT.validate_json(run(command, stdin=_JOB.dump_json(_Job(root, facts))).stdout)


def main() -> None:
    """Judge what standard input names, and write the report to standard output."""
    job = _JOB.validate_json(sys.stdin.buffer.read())
    try:
        report = judge(job.root, job.facts)
    except HatfleetError as error:
        sys.exit(f"{error}\n{error.hint or ''}".strip())
    sys.stdout.buffer.write(_REPORT.dump_json(report))


if __name__ == "__main__":
    main()
