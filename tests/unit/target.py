"""This machine as a target: the engine's own scripts run for real, without a connection."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatfleet.fleet.connectors.base import Ended, OnOutput
from hatfleet.fleet.engine.compare import compare
from hatfleet.fleet.engine.target import Target
from hatfleet.ops.reads import Read
from hatfleet.ops.steps import Declaration, Operation, declaring


class LocalTarget(Target):
    """Runs scripts with the local ``sh`` and keeps them."""

    def __init__(self, *, live: bool = True) -> None:
        self.scripts: list[str] = []
        super().__init__(self._run_here, self._send_here, live=live)

    def _run_here(self, script: str, on_output: OnOutput) -> Ended:
        self.scripts.append(script)
        done = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, check=False)
        on_output(done.stdout)
        return Ended(done.returncode, done.stdout, done.stderr)

    def _send_here(self, script: str, file: Path) -> Ended:
        self.scripts.append(script)
        with file.open("rb") as handle:
            done = subprocess.run(["/bin/sh", "-c", script], stdin=handle, capture_output=True, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    def ask(self, *reads: Read) -> list[Any]:
        """Return the answers to reads."""
        self.gather(reads)
        return [self.answer(read) for read in reads]


def declared(call: Callable[[], object], *, live: bool = True) -> list[Operation]:
    """Return the operations that a function declares."""
    declaration = Declaration(live=live)
    with declaring(declaration):
        call()
    return declaration.operations


def compared(call: Callable[[], object], target: LocalTarget | None = None) -> list[Operation]:
    """Return the operations that a function declares, compared with this machine."""
    target = target or LocalTarget()
    declaration = Declaration(live=target.live)
    with declaring(declaration):
        call()
        compare(target, declaration.operations)
    return declaration.operations
