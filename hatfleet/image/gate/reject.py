"""Keeping a refused image where nobody takes it for a good one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from hatfleet.common.files import write_atomic
from hatfleet.image.gate.model import RejectedError, Report, report_json

#: What the name of a folder with refused artefacts ends with.
REJECTED = ".rejected"

#: The report, among the artefacts.
GATE_FILE = "gate.json"


def reject(folder: Path, report: Report, *, controls: Sequence[str] = (), name: str | None = None) -> RejectedError:
    """Keep refused artefacts as ``NAME.rejected``, with the report, and return the error to raise.

    Args:
        folder: The artefacts; it is renamed. An earlier refused build of that name is removed.
        report: What the gate found.
        controls: Controls of roles that failed, a text each.
        name: Name of the image; default: the name of the folder.

    Raises:
        OSError: the folder cannot be renamed.
    """
    kept = folder.with_name((name or folder.name) + REJECTED)
    write_atomic(folder / GATE_FILE, report_json(report) + "\n")
    if kept.exists():
        shutil.rmtree(kept)
    folder.rename(kept)
    return RejectedError(report.findings, controls=controls, kept=kept)
