"""Bringing a wedged accelerator back: a reset of the chip, then a restart of the device, both only so often a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hatserve.accelerator.bus import Device
from hatserve.accelerator.config import Config
from hatserve.accelerator.probe import probe
from hatserve.accelerator.record import FILE, STARTED, Record, count_today, moment
from hatserve.accelerator.status import State, Status
from hatserve.system import Ended, System, run

#: How long systemd may take to accept the restart, in seconds.
_REBOOT_TIMEOUT_S = 30.0

#: After this long a restart that was accepted will not come any more, seconds: systemd gives every unit 90 s to stop.
_SHUTDOWN_S = 600.0


class Outcome(StrEnum):
    """How a recovery ended."""

    WELL = "well"
    """There was nothing to do."""
    NOT_WEDGED = "not-wedged"
    """Something is wrong that no reset mends."""
    RECOVERED = "recovered"
    """The chip answers again."""
    REBOOTING = "rebooting"
    """The device restarts."""
    GIVEN_UP = "given-up"
    """Everything that is allowed today was tried."""
    WOULD = "would"
    """A dry run: what would be done is in the steps."""


@dataclass(frozen=True)
class Step:
    """Something that was tried."""

    step: str
    result: str


@dataclass(frozen=True)
class Recovery:
    """What came of it."""

    outcome: Outcome
    reason: str
    status: Status
    """The accelerator's health at the end."""
    steps: tuple[Step, ...] = ()


def write_file(path: Path, text: str) -> None:
    """Write to a file of sysfs."""
    path.write_text(text)


def reboot() -> Ended:
    """Ask systemd to restart the device."""
    return run(["systemctl", "reboot"], _REBOOT_TIMEOUT_S)


@dataclass(frozen=True)
class Hands:
    """What touches the machine; replaced in tests."""

    write: Callable[[Path, str], None] = write_file
    reboot: Callable[[], Ended] = reboot
    sleep: Callable[[float], None] = time.sleep


def recover(system: System, config: Config, hands: Hands | None = None, *, dry_run: bool = False) -> Recovery:
    """Bring a wedged accelerator back, within what is allowed a day; every step goes into the record first.

    Args:
        system: The system whose accelerator it is.
        config: What is wanted, and how often what may be tried.
        hands: What touches the machine.
        dry_run: Only say what would be done.

    Raises:
        HatserveError: another recovery is running, or the record cannot be kept.
    """
    hands = hands or Hands()
    status = probe(system, config, hands.sleep)
    if status.state is State.OK:
        return Recovery(Outcome.WELL, status.reasons[0], status)
    if status.state is not State.WEDGED:
        return Recovery(Outcome.NOT_WEDGED, f"{status.state.value}: {'; '.join(status.reasons)}", status)
    attempt = _Attempt(system, config, hands)
    if dry_run:
        return attempt.plan(status)
    with attempt.record.held():
        return attempt.make(status)


class _Attempt:
    """One recovery of a chip that is wedged."""

    def __init__(self, system: System, config: Config, hands: Hands) -> None:
        self.system = system
        self.config = config
        self.hands = hands
        self.record = Record(system.path(FILE))
        self.steps: list[Step] = []

    def plan(self, status: Status) -> Recovery:
        """Return what would be done."""
        refused = self._refusal("reset", self.config.max_resets_per_day)
        steps = [Step("reset", refused or "would be done")]
        refused = self._refusal("reboot", self.config.max_reboots_per_day)
        steps.append(Step("reboot", refused or "would be done if the reset does not help"))
        return Recovery(Outcome.WOULD, status.reasons[0], status, tuple(steps))

    def make(self, status: Status) -> Recovery:
        """Reset the chip, and restart the device if that does not help."""
        assert status.look is not None
        if self._is_restarting():
            return self._ended(Outcome.REBOOTING, "the device was told to restart before", status)
        refused = self._refusal("reset", self.config.max_resets_per_day)
        if refused:
            self._note_once("reset", refused)
        else:
            self._note("reset", STARTED)
            self._reset(status.look.device)
            status = probe(self.system, self.config, self.hands.sleep)
            self._note("probe", f"{status.state.value}: {status.reasons[0]}")
            if status.state is not State.WEDGED:
                return self._ended(Outcome.RECOVERED, status.reasons[0], status)
        return self._restart(status)

    def _reset(self, device: Device) -> None:
        """Take the chip from its driver, reset its PCI function, and give it back, which loads the firmware anew."""
        driver = self.system.path(f"/sys/bus/pci/drivers/{device.driver or device.kind.driver}")
        writes = [
            ("unbind", driver / "unbind", device.address) if device.driver else None,
            ("function-reset", device.folder / "reset", "1"),
            ("bind", driver / "bind", device.address),
        ]
        for name, path, text in filter(None, writes):
            if not path.exists():
                self._note(name, f"skipped: there is no {path}")
                continue
            result = self._write(path, text)
            self._note(name, result)
            if result == _HANGS:
                # The kernel waits for the chip with the device locked: no other step would come through.
                return

    def _write(self, path: Path, text: str) -> str:
        """Write to sysfs for a bounded time: the write itself waits for the chip, and nothing can end it."""
        results: list[str] = []

        def write() -> None:
            try:
                self.hands.write(path, text)
                results.append("done")
            except OSError as error:
                results.append(f"failed: {error.strerror}")

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        thread.join(self.config.step_timeout_s)
        return results[0] if results else _HANGS

    def _restart(self, status: Status) -> Recovery:
        refused = self._refusal("reboot", self.config.max_reboots_per_day)
        if refused:
            self._note_once("reboot", refused)
            return self._ended(Outcome.GIVEN_UP, f"{status.reasons[0]}; {refused}", status)
        self._note("reboot", STARTED)
        ended = self.hands.reboot()
        if ended.status != 0:
            result = f"failed: {ended.why or ended.said or f'exit status {ended.status}'}"
            self._note("reboot", result)
            return self._ended(Outcome.GIVEN_UP, f"the device does not restart: {result}", status)
        return self._ended(Outcome.REBOOTING, status.reasons[0], status)

    def _is_restarting(self) -> bool:
        """Whether this start of the device was told to end a moment ago."""
        now = moment(self.system)
        told = [entry for entry in self.record.entries() if entry is not None and entry.step == "reboot"]
        if not told or (told[-1].boot_id, told[-1].result) != (now.boot_id, STARTED):
            return False
        return now.uptime_s - told[-1].uptime_s < _SHUTDOWN_S

    def _refusal(self, step: str, limit: int) -> str | None:
        """Return why a step may not be taken any more, else None."""
        done = count_today(self.record.entries(), step, moment(self.system))
        return f"refused: {done} of {limit} allowed a day were made" if done >= limit else None

    def _note(self, step: str, result: str) -> None:
        self.record.add(moment(self.system), step, result)
        self.steps.append(Step(step, result))

    def _note_once(self, step: str, result: str) -> None:
        """Note a refusal, unless the record says so already: it is asked again every few minutes."""
        self.steps.append(Step(step, result))
        now = moment(self.system)
        said = [entry for entry in self.record.entries() if entry is not None and entry.step == step]
        if not said or (said[-1].boot_id, said[-1].result) != (now.boot_id, result):
            self.record.add(now, step, result)

    def _ended(self, outcome: Outcome, reason: str, status: Status) -> Recovery:
        return Recovery(outcome, reason, status, tuple(self.steps))


_HANGS = "failed: the kernel does not come back from it"
