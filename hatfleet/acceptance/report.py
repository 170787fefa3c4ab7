"""What acceptance found: data first, rendered elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import TypeAdapter

from hatfleet.common.errors import ExitCode
from hatfleet.compliance.results import Control, HostOutcome, HostResult
from hatfleet.image.gate import Finding
from hatfleet.image.gate import Report as GateReport

_GOOD = (HostOutcome.PASSED, HostOutcome.NOT_APPLICABLE)


@dataclass(frozen=True)
class Offline:
    """The root file system, not running."""

    gate: GateReport
    checks: HostResult
    """The roles' controls that can be judged on files and programs alone."""
    at_boot: tuple[Control, ...]
    """The controls that need a running system: not judged here."""

    @property
    def passed(self) -> bool:
        """Whether everything that can be judged on the files is as it must be."""
        return self.gate.passed and self.checks.outcome in _GOOD


@dataclass(frozen=True)
class Booted:
    """The image as a running device."""

    checks: HostResult
    sockets: tuple[Finding, ...]
    """Sockets that wait for the network and are not allowed."""
    failed_units: tuple[str, ...]
    ordering_cycles: tuple[str, ...]
    """What systemd said about units that wait for each other, and of which it dropped one."""
    taint: int
    """The kernel's taint flags (Documentation/admin-guide/tainted-kernels.rst); 0: none."""

    @property
    def passed(self) -> bool:
        """Whether the device is as it must be."""
        troubles = (self.sockets, self.failed_units, self.ordering_cycles, self.taint)
        return self.checks.outcome in _GOOD and not any(troubles)


@dataclass(frozen=True)
class Acceptance:
    """All that was found about an image."""

    name: str
    version: str
    offline: Offline
    booted: Booted | None
    not_booted: str
    """Why the image was not booted; empty when it was."""

    @property
    def passed(self) -> bool:
        """Whether all that was judged is as it must be."""
        return self.offline.passed and (self.booted is None or self.booted.passed)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that it stands for."""
        return ExitCode.OK if self.passed else ExitCode.CHECK_FAILED


def acceptance_json(acceptance: Acceptance) -> str:
    """Return the report as JSON, with the exit code it stands for."""
    data = TypeAdapter(Acceptance).dump_python(acceptance, mode="json")
    head = {"exit_code": int(acceptance.exit_code), "passed": acceptance.passed}
    return json.dumps(head | data, indent=2, ensure_ascii=False)
