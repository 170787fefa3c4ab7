"""Waiting for a device to come up: its host key on the console, then a login over SSH."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hatfleet.common.errors import HatfleetError
from hatfleet.lab import machine
from hatfleet.lab.access import try_login
from hatfleet.lab.console import ConsoleReader, fatal_reason, host_key
from hatfleet.lab.device import Device
from hatfleet.lab.inventory import update_inventory

_POLL_S = 0.2
_LOGIN_POLL_S = 1.0

#: So often in a row a device may refuse the lab's key; for a moment of its boot it may not know the account yet.
_DENIALS = 10

#: How much of the console an error shows, lines and characters in each.
_SHOWN_LINES = 15
_SHOWN_WIDTH = 200


class BootError(HatfleetError):
    """A device did not come up; the message ends with the last lines of its console."""


class HostKeyChangedError(BootError):
    """A device that was up before shows another host key than the pinned one."""


class StoppedError(HatfleetError):
    """The wait was given up from outside (Ctrl-C, or another device's failure)."""


@dataclass
class Boot:
    """One device on its way up.

    Attributes:
        device: The device as recorded; with its host key once that is known.
        reader: Reads its console, from this start on.
        timeout_s: Seconds from now until the wait ends with an error.
        stop: Set from outside to give up.
        on_phase: Called with what the device is at ("boots", "starts SSH").
    """

    device: Device
    reader: ConsoleReader
    timeout_s: float
    stop: threading.Event
    on_phase: Callable[[str], None] = lambda phase: None
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_SHOWN_LINES), init=False)
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.timeout_s

    def wait_for_key(self) -> None:
        """Wait until the device shows its host key on the console; pin it, or compare it with the pinned one.

        Raises:
            BootError: panic, emergency mode, power-off, timeout; the message says which.
            HostKeyChangedError: not the host key this device had before.
            StoppedError: ``stop`` was set.
        """
        self.on_phase("boots")
        while True:
            for line in self._new_lines("no host key on the console"):
                key = host_key(line)
                if key:
                    self._pin(key)
                    return
            self.stop.wait(_POLL_S)

    def wait_for_login(self) -> None:
        """Wait until one can log in over SSH.

        Raises:
            BootError: as above, no login until the timeout, or the lab's key is refused.
            HostKeyChangedError: SSH presents another host key than the pinned one.
            StoppedError: ``stop`` was set.
        """
        self.on_phase("starts SSH")
        denied = 0
        while (refusal := try_login(self.device)) is not None:
            if "REMOTE HOST IDENTIFICATION HAS CHANGED" in refusal:
                raise HostKeyChangedError(f"{self.device.name} does not have the pinned host key")
            denied = denied + 1 if "Permission denied" in refusal else 0
            if denied == _DENIALS:
                raise BootError(
                    f"{self.device.name} is up, but refuses the lab's key: its image was built to let another key in",
                    hint="build the image again on this machine, as this user: provision image build",
                )
            self._new_lines(f"no login over SSH ({refusal.splitlines()[-1]})")
            self.stop.wait(_LOGIN_POLL_S)
        self.on_phase("is ready")

    def _pin(self, key: str) -> None:
        if self.device.host_key is None:
            self.device = self.device.model_copy(update={"host_key": key})
            self.device.save()
        elif self.device.host_key != key:
            raise HostKeyChangedError(
                f"{self.device.name} shows another host key than the pinned one:\n"
                f"    pinned {self.device.host_key}\n    shown  {key}",
                hint="if its key was changed on purpose, make the device anew: "
                f"provision lab down {self.device.name}, then provision lab up",
            )
        update_inventory()

    def _new_lines(self, missing: str) -> list[str]:
        """Return the new console lines, or raise if there is no point in waiting any longer."""
        if self.stop.is_set():
            raise StoppedError(f"{self.device.name}: given up")
        running = machine.is_running(self.device)
        lines = self.reader.lines()
        if reason := self._look_for_failure(lines):
            raise self._error(reason)
        if not running or time.monotonic() > self.deadline:
            self.recent.append(self.reader.rest()[:_SHOWN_WIDTH])
            late = f"{missing} within {self.timeout_s:g} s"
            raise self._error(late if running else "it was switched off while it booted")
        return lines

    def _look_for_failure(self, lines: list[str]) -> str | None:
        """Keep the last lines up to one that means failure: what led to a panic says more than its backtrace."""
        for line in lines:
            if line.strip():
                self.recent.append(line[:_SHOWN_WIDTH])
            if reason := fatal_reason(line):
                return reason
        return None

    def _error(self, reason: str) -> BootError:
        shown = "\n".join(f"    {line}" for line in self.recent if line.strip())
        name = self.device.name
        return BootError(
            f"{name} did not come up: {reason}; its console said:\n{shown or '    (nothing)'}",
            hint=f"all of it: provision lab console {name}; try again: provision lab up; "
            f"remove it: provision lab down {name}",
        )
