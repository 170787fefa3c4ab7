"""Recovery of a wedged chip: what is tried, in which order, how often, and what the record says of it."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hatserve.accelerator.config import load_config
from hatserve.accelerator.record import FILE, STARTED, Entry, Moment, Record, count_today
from hatserve.accelerator.recovery import Hands, Outcome, Recovery, recover
from hatserve.cli.main import main
from hatserve.errors import HatserveError
from hatserve.system import Ended, System

from tests.unit.hatserve.machine_tree import Machine

NOW = Moment(datetime(2026, 6, 1, 12, tzinfo=UTC), "boot-now", 600.0, synchronized=True)


class Kernel:
    """A stand-in for the kernel's side of sysfs: notes what is written, and may bring the chip back."""

    def __init__(self, machine: Machine, heals: Callable[[], None] = lambda: None) -> None:
        self.machine = machine
        self.heals = heals
        self.writes: list[tuple[str, str]] = []
        self.reboots = 0
        self.reboot_status = 0

    def write(self, path: Path, text: str) -> None:
        self.writes.append((path.name, text))
        if path.name == "bind":
            self.heals()

    def reboot(self) -> Ended:
        self.reboots += 1
        return Ended(self.reboot_status, errors="Access denied")

    @property
    def hands(self) -> Hands:
        return Hands(self.write, self.reboot, lambda seconds: None)


@pytest.fixture
def wedged(machine: Machine) -> Machine:
    """An AI HAT+ 2 whose chip has ended the connection."""
    machine.hat_plus_2()
    machine.fails(62, "HAILO_COMMUNICATION_CLOSED(62)")
    return machine


def attempt(machine: Machine, kernel: Kernel, **options: Any) -> Recovery:
    system = System(machine.root)
    return recover(system, load_config(system), kernel.hands, **options)


def lines(machine: Machine) -> list[dict[str, Any]]:
    path = machine.root / FILE.lstrip("/")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def restart(machine: Machine, boot_id: str) -> None:
    """Start the machine anew."""
    machine.write("/proc/sys/kernel/random/boot_id", boot_id)
    machine.write("/proc/uptime", "60.00 1.00\n")


def test_a_chip_that_is_well_is_left_alone(machine: Machine) -> None:
    machine.hat_plus_2()
    kernel = Kernel(machine)
    assert attempt(machine, kernel).outcome is Outcome.WELL
    assert (kernel.writes, kernel.reboots, lines(machine)) == ([], 0, [])


def test_what_no_reset_mends_is_left_alone(machine: Machine) -> None:
    machine.hat_plus_2()
    machine.load("hailo1x_pci", "5.2.0")
    kernel = Kernel(machine)
    recovery = attempt(machine, kernel)
    assert recovery.outcome is Outcome.NOT_WEDGED
    assert "versions differ" in recovery.reason
    assert (kernel.writes, kernel.reboots) == ([], 0)


def test_a_reset_that_helps_ends_the_recovery(wedged: Machine) -> None:
    kernel = Kernel(wedged, heals=wedged.answers)
    recovery = attempt(wedged, kernel)
    assert recovery.outcome is Outcome.RECOVERED
    assert kernel.writes == [("unbind", "0001:01:00.0"), ("reset", "1"), ("bind", "0001:01:00.0")]
    assert kernel.reboots == 0
    assert [(line["step"], line["result"]) for line in lines(wedged)] == [
        ("reset", "started"),
        ("unbind", "done"),
        ("function-reset", "done"),
        ("bind", "done"),
        ("probe", "ok: the Hailo-10H answers, with firmware 5.1.1"),
    ]
    assert {line["boot_id"] for line in lines(wedged)} == {"11111111-1111-1111-1111-111111111111"}


def test_a_chip_without_a_driver_is_not_taken_from_one(wedged: Machine) -> None:
    (wedged.root / "dev/hailo0").unlink()
    (wedged.root / "sys/bus/pci/devices/0001:01:00.0/driver").unlink()
    wedged.program("dmesg", "echo 'hailo1x 0001:01:00.0: Timeout waiting for firmware file'")
    kernel = Kernel(wedged)
    attempt(wedged, kernel)
    assert [name for name, _ in kernel.writes] == ["reset", "bind"]


def test_a_chip_that_stays_wedged_restarts_the_device_once(wedged: Machine) -> None:
    kernel = Kernel(wedged)
    assert attempt(wedged, kernel).outcome is Outcome.REBOOTING
    assert kernel.reboots == 1
    again = attempt(wedged, kernel)
    assert (again.outcome, again.reason) == (Outcome.REBOOTING, "the device was told to restart before")
    assert (kernel.reboots, again.steps) == (1, ()), "a device that goes down is left alone"
    wedged.write("/proc/uptime", "900.00 1.00\n")
    attempt(wedged, kernel)
    assert kernel.reboots == 2, "the first one did not come"


def test_restarts_are_bounded_across_restarts_and_the_end_is_said_once(wedged: Machine) -> None:
    kernel = Kernel(wedged)
    for number in range(6):
        restart(wedged, f"boot-{number}")
        recovery = attempt(wedged, kernel)
    assert (kernel.reboots, recovery.outcome) == (2, Outcome.GIVEN_UP)
    assert "2 of 2 allowed a day" in recovery.reason
    refused = len(lines(wedged))
    wedged.configure(kind="hailo10h", max_resets_per_day=0)
    attempt(wedged, kernel)
    attempt(wedged, kernel)
    assert len(lines(wedged)) == refused + 1, "only the refusal of the reset is new, and it is said once"


def test_resets_are_bounded(wedged: Machine) -> None:
    wedged.configure(kind="hailo10h", max_resets_per_day=3, max_reboots_per_day=0)
    kernel = Kernel(wedged)
    for _ in range(5):
        attempt(wedged, kernel)
    assert [name for name, _ in kernel.writes].count("reset") == 3
    assert kernel.reboots == 0


def test_a_restart_that_is_refused_may_be_tried_again_and_counts(wedged: Machine) -> None:
    kernel = Kernel(wedged)
    kernel.reboot_status = 1
    first = attempt(wedged, kernel)
    assert (first.outcome, first.reason) == (Outcome.GIVEN_UP, "the device does not restart: failed: Access denied")
    attempt(wedged, kernel)
    attempt(wedged, kernel)
    assert kernel.reboots == 2


def test_a_kernel_that_hangs_does_not_hang_the_recovery(wedged: Machine) -> None:
    wedged.configure(kind="hailo10h", step_timeout_s=0.2)
    release = threading.Event()
    kernel = Kernel(wedged)
    hands = replace(kernel.hands, write=lambda path, text: release.wait(20) and None)
    system = System(wedged.root)
    recovery = recover(system, load_config(system), hands)
    release.set()
    assert recovery.outcome is Outcome.REBOOTING
    assert [(step.step, step.result) for step in recovery.steps][1] == (
        "unbind",
        "failed: the kernel does not come back from it",
    )
    assert "function-reset" not in [step.step for step in recovery.steps]


def test_a_step_that_the_kernel_refuses_is_recorded(wedged: Machine) -> None:
    (wedged.root / "sys/bus/pci/devices/0001:01:00.0/reset").unlink()
    kernel = Kernel(wedged)

    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    system = System(wedged.root)
    recovery = recover(system, load_config(system), replace(kernel.hands, write=refuse))
    results = {step.step: step.result for step in recovery.steps}
    assert results["unbind"] == "failed: Permission denied"
    assert results["function-reset"].startswith("skipped: there is no ")


def test_without_a_record_nothing_is_touched(wedged: Machine) -> None:
    wedged.write("/var/lib/hatserve", "a file where the folder should be")
    kernel = Kernel(wedged)
    with pytest.raises(HatserveError, match="nothing is reset or rebooted"):
        attempt(wedged, kernel)
    assert (kernel.writes, kernel.reboots) == ([], 0)


def test_a_dry_run_touches_and_records_nothing(wedged: Machine) -> None:
    kernel = Kernel(wedged)
    recovery = attempt(wedged, kernel, dry_run=True)
    assert recovery.outcome is Outcome.WOULD
    assert [step.step for step in recovery.steps] == ["reset", "reboot"]
    assert (kernel.writes, kernel.reboots, lines(wedged)) == ([], 0, [])
    wedged.configure(kind="hailo10h", max_reboots_per_day=0)
    assert "refused: 0 of 0" in attempt(wedged, kernel, dry_run=True).steps[1].result


def test_two_recoveries_at_a_time_are_refused(wedged: Machine) -> None:
    lock = wedged.write(FILE.replace(".jsonl", ".lock"), "")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(HatserveError, match="another recovery"):
            attempt(wedged, Kernel(wedged))


def test_the_command_line_restarts_through_systemd(wedged: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    wedged.program("systemctl", f'echo "$*" > {wedged.bin}/asked')
    assert main(["accelerator", "recover", "--json", "--root", str(wedged.root)]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["outcome"] == "rebooting"
    assert data["status"]["state"] == "wedged"
    assert (wedged.bin / "asked").read_text() == "reboot\n"
    # The stand-in for sysfs is made of ordinary files, which keep what was written to them.
    assert (wedged.root / "sys/bus/pci/devices/0001:01:00.0/reset").read_text() == "1"
    assert (wedged.root / "sys/bus/pci/drivers/hailo1x/bind").read_text() == "0001:01:00.0"


def entry(hours_ago: float, *, boot: str = "boot-before", synchronized: bool = True, uptime_s: float = 50.0) -> Entry:
    time = (NOW.time - timedelta(hours=hours_ago)).isoformat()
    return Entry(time, boot, uptime_s, synchronized, "reboot", STARTED)


@pytest.mark.parametrize(
    ("line", "now", "counts"),
    [
        (entry(1), NOW, True),
        (entry(25), NOW, False),
        (entry(-5), NOW, True),  # The clock has jumped back since.
        (entry(9000, synchronized=False), NOW, True),  # The clock was not set yet when it was written.
        (entry(25), replace(NOW, synchronized=False), True),  # The clock may be wrong now.
        (entry(1, synchronized=False), replace(NOW, uptime_s=90_000), False),  # It surely was before this start.
        (entry(-5), replace(NOW, uptime_s=90_000), False),
        (entry(9000, boot="boot-now", uptime_s=100), NOW, True),  # Eight minutes ago, whatever the clock says.
        (entry(1, boot="boot-now", uptime_s=100), replace(NOW, uptime_s=90_000), False),
        (None, NOW, True),  # A torn line may have been a restart.
        (None, replace(NOW, uptime_s=90_000), False),
        (replace(entry(1), result="failed: Access denied"), NOW, False),  # Its start has a line of its own.
        (replace(entry(1), step="reset"), NOW, False),
    ],
)
def test_a_line_counts_unless_it_is_surely_a_day_old(line: Entry | None, now: Moment, *, counts: bool) -> None:
    assert count_today([line], "reboot", now) == int(counts)


def test_restarts_whose_clock_starts_at_the_same_time_each_all_count() -> None:
    boots = [replace(entry(0), boot_id=f"boot-{number}", synchronized=False) for number in range(5)]
    assert count_today(boots, "reboot", replace(NOW, synchronized=False)) == 5


def test_a_line_that_a_power_cut_left_unfinished_stays_alone(tmp_path: Path) -> None:
    record = Record(tmp_path / "recovery.jsonl")
    record.add(NOW, "reset", STARTED)
    record.path.write_bytes(record.path.read_bytes() + b'{"time": "2026-06-0')
    record.add(NOW, "reboot", STARTED)
    read = record.entries()
    assert [line and line.step for line in read] == ["reset", None, "reboot"]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "null", '{"time": 5}', json.dumps({**entry(1).__dict__, "time": "2026-06-01T00:00:00"})]
)
def test_a_line_that_means_nothing_is_unreadable_not_a_crash(tmp_path: Path, line: str) -> None:
    path = tmp_path / "recovery.jsonl"
    path.write_text(line + "\n")
    assert Record(path).entries() == [None]


def test_the_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "recovery.jsonl"
    path.write_text((json.dumps(entry(48).__dict__) + "\n") * 3000)
    record = Record(path)
    record.add(NOW, "reboot", STARTED)
    read = record.entries()
    assert len(read) == 1501
    assert read[-1] is not None
    assert read[-1].boot_id == "boot-now"
