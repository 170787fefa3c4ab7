"""The hardware test: real SSH to a loopback server, the real hatserve on simulated machines, every point's verdicts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from hatfleet.acceptance.hardware.answers import AcceleratorAnswer, BoardAnswer
from hatfleet.acceptance.hardware.evidence import Commands, Evidence, Restart, collect
from hatfleet.acceptance.hardware.points import POINTS, PointResult, judge
from hatfleet.acceptance.hardware.report import HardwareReport, report_json, report_text, save
from hatfleet.common.errors import ExitCode
from hatfleet.compliance.results import Outcome
from tests.ssh_server import SshServer, ssh_server
from tests.unit.hatserve.machine_tree import Machine

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/hardware-validation.md"
A = TypeVar("A", AcceleratorAnswer, BoardAnswer)

NOW = datetime(2026, 6, 1, tzinfo=UTC)

BINDINGS = """
class Read:
    ts0_temperature, ts1_temperature = 51.0, 52.0
class Device:
    control = property(lambda self: self)
    def get_chip_temperature(self):
        return Read
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
"""


def machine_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(folder, monkeypatch)
    made.hat_plus_2()
    made.bindings(BINDINGS)
    return made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return machine_in(tmp_path / "machine", monkeypatch)


def commands_for(machine: Machine) -> Commands:
    """Return what asks the real hatserve about a simulated machine, and restarts it."""
    program = machine.bin / "hatserve-there"
    path = f"PATH={machine.bin}:/usr/bin:/bin PYTHONPATH={machine.bin / 'python'}"
    real = shlex.quote(str(Path(sys.executable).parent / "hatserve"))
    program.write_text(f'#!/bin/sh\nexport {path}\nexec {real} "$@" --root {machine.root}\n')
    program.chmod(0o755)
    boot_id = machine.root / "proc/sys/kernel/random/boot_id"
    return Commands(str(program), f"cat {boot_id}", f"echo a-later-start > {boot_id}")


def ask(machine: Machine, server: SshServer, **options: Any) -> Evidence:
    given = {"reboot": False, "load_s": 0.5, "commands": commands_for(machine), **options}
    return collect(server.connection, **given)


def outcomes(points: tuple[PointResult, ...]) -> dict[str, Outcome]:
    return {point.id: point.outcome for point in points}


def seen(points: tuple[PointResult, ...], number: str) -> str:
    return next(point.seen for point in points if point.id == number)


def test_a_board_in_order_passes_every_point(machine: Machine, server: SshServer) -> None:
    points = judge(ask(machine, server, reboot=True))
    assert outcomes(points) == {point.id: Outcome.PASSED for point in POINTS}, points
    assert seen(points, "HW-03") == "vendor 'Raspberry Pi', product 'a product', uuid '0000-0000'"
    assert seen(points, "HW-10") == "8 GT/s x1"
    assert seen(points, "HW-11") == "52.0 °C"
    assert seen(points, "HW-15").startswith("ok ")


def test_without_reboot_the_restart_is_not_applicable(machine: Machine, server: SshServer) -> None:
    points = judge(ask(machine, server))
    assert outcomes(points)["HW-15"] is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("model", ["linux,dummy-virt", "QEMU Virtual Machine", None])
def test_on_a_virtual_device_no_point_is_ever_passed(machine: Machine, server: SshServer, model: str | None) -> None:
    file = machine.write("/proc/device-tree/model", model or "")
    if model is None:
        file.unlink()
    evidence = ask(machine, server, reboot=True)
    assert evidence.under_load is None, "it is not loaded for nothing"
    assert evidence.restart is None, "nor restarted"
    report = HardwareReport("edge-01", NOW, NOW, judge(evidence), evidence)
    assert set(outcomes(report.points).values()) == {Outcome.NOT_APPLICABLE}
    assert report.exit_code is ExitCode.INCONCLUSIVE
    assert "nothing was proved" in report_text(report)


def test_a_device_without_hatserve_fails_every_point(server: SshServer) -> None:
    evidence = collect(server.connection, reboot=False, commands=Commands(hatserve="/no/such/hatserve"))
    points = judge(evidence)
    assert set(outcomes(points).values()) == {Outcome.FAILED}
    assert "/no/such/hatserve" in points[0].seen


def test_an_answer_of_another_form_fails_and_names_the_place(server: SshServer) -> None:
    evidence = collect(server.connection, reboot=False, commands=Commands(hatserve='echo \'{"state": "ok"}\' #'))
    points = judge(evidence)
    assert set(outcomes(points).values()) == {Outcome.FAILED}
    assert "answers otherwise than expected: reasons" in points[0].seen


def test_a_cpu_only_board_is_judged_by_its_board_points(machine: Machine, server: SshServer) -> None:
    machine.configure(kind="none")
    points = judge(ask(machine, server))
    passed = {number for number, outcome in outcomes(points).items() if outcome is Outcome.PASSED}
    assert passed == {"HW-01", "HW-02", "HW-12", "HW-13"}
    assert Outcome.FAILED not in outcomes(points).values()


def test_a_device_that_does_not_restart_fails(machine: Machine, server: SshServer) -> None:
    commands = replace(commands_for(machine), restart="echo no >&2; false")
    points = judge(ask(machine, server, reboot=True, commands=commands))
    assert (outcomes(points)["HW-15"], seen(points, "HW-15")) == (
        Outcome.FAILED,
        "the device is not back: it does not restart: no",
    )


def test_an_accelerator_that_does_not_survive_a_restart_fails(machine: Machine, server: SshServer) -> None:
    commands = commands_for(machine)
    commands = replace(commands, restart=f"{commands.restart}; rm {machine.root}/lib/firmware/hailo/hailo10h/fitImage")
    points = judge(ask(machine, server, reboot=True, restart_limit_s=1, commands=commands))
    assert outcomes(points)["HW-15"] is Outcome.FAILED
    assert "fitImage" in seen(points, "HW-15")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What a board in order says; asked once, for it cannot be changed."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as monkeypatch, ssh_server(folder / "server") as server:
        return ask(machine_in(folder / "machine", monkeypatch), server)


def accelerator(evidence: Evidence, **changes: Any) -> Evidence:
    assert evidence.accelerator is not None
    return replace(evidence, accelerator=_changed(evidence.accelerator, changes))


def board(evidence: Evidence, **changes: Any) -> Evidence:
    assert evidence.board is not None
    return replace(evidence, board=_changed(evidence.board, changes))


def under_load(evidence: Evidence, **changes: Any) -> Evidence:
    assert evidence.under_load is not None
    return replace(evidence, under_load=_changed(evidence.under_load, changes))


def _changed(answer: A, changes: dict[str, Any]) -> A:
    data = answer.model_dump()
    for path, value in changes.items():
        *folders, last = path.split("__")
        at = data
        for name in folders:
            at = at[name]
        at[last] = value
    return type(answer).model_validate(data)


@pytest.mark.parametrize(
    ("number", "spoil"),
    [
        ("HW-01", lambda good: board(good, model="Raspberry Pi 4 Model B Rev 1.5")),
        ("HW-02", lambda good: board(good, eeprom__date="2023-10-30")),
        ("HW-02", lambda good: board(good, eeprom_minimum="2026-01-01")),
        ("HW-02", lambda good: board(good, eeprom=None)),
        ("HW-03", lambda good: board(good, hat=None)),
        ("HW-04", lambda good: accelerator(good, device=None)),
        ("HW-05", lambda good: accelerator(good, driver__bound=None)),
        ("HW-06", lambda good: accelerator(good, nodes=())),
        ("HW-06", lambda good: accelerator(good, nodes=[{"path": "/dev/hailo0", "mode": "0666", "group": "hailo"}])),
        ("HW-06", lambda good: accelerator(good, node_group="another")),
        ("HW-07", lambda good: accelerator(good, firmware__version=None)),
        ("HW-07", lambda good: accelerator(good, firmware__architecture="HAILO15H")),
        ("HW-08", lambda good: accelerator(good, versions__equal=False)),
        ("HW-08", lambda good: accelerator(good, versions__equal=None)),
        ("HW-08", lambda good: accelerator(good, versions__bindings=None)),
        ("HW-09", lambda good: accelerator(good, firmware__missing=("fitImage",))),
        ("HW-10", lambda good: accelerator(good, link__speed_gts=5.0)),
        ("HW-10", lambda good: accelerator(good, link__width=None)),
        ("HW-11", lambda good: accelerator(good, temperature__chip_c=None)),
        ("HW-11", lambda good: accelerator(good, temperature__chip_c=-273.0)),
        ("HW-12", lambda good: under_load(good, throttled__now={"throttled": True})),
        ("HW-12", lambda good: under_load(good, temperature__soc_c=84.0)),
        ("HW-12", lambda good: under_load(good, throttled=None)),
        ("HW-12", lambda good: replace(good, under_load=None)),
        ("HW-13", lambda good: under_load(good, throttled__since_boot={"under_voltage": True})),
        ("HW-13", lambda good: under_load(good, throttled__since_boot={"under_voltage": None})),
        ("HW-14", lambda good: accelerator(good, state="degraded")),
        ("HW-15", lambda good: replace(good, restart=Restart(good.accelerator, 300, "timed out"))),
    ],
)
def test_every_point_can_fail(good: Evidence, number: str, spoil: Callable[[Evidence], Evidence]) -> None:
    assert outcomes(judge(good))[number] is not Outcome.FAILED
    assert outcomes(judge(spoil(good)))[number] is Outcome.FAILED


def test_a_coral_on_usb_has_no_link_and_no_versions(good: Evidence) -> None:
    stick = accelerator(
        good,
        kind__expected="coral",
        device={"bus": "usb", "address": "2-1", "id": "18d1:9302"},
        temperature__chip_c=None,
    )
    found = outcomes(judge(stick))
    for number in ("HW-03", "HW-05", "HW-07", "HW-08", "HW-09", "HW-10", "HW-11"):
        assert found[number] is Outcome.NOT_APPLICABLE, number


def test_the_report_is_kept_as_json_and_as_text(good: Evidence, tmp_path: Path) -> None:
    report = HardwareReport("edge-01", NOW, NOW, judge(good), good)
    text = save(report, tmp_path / "reports" / "edge-01.json")
    data = json.loads((tmp_path / "reports" / "edge-01.json").read_text())
    assert (data["exit_code"], data["host"], len(data["points"])) == (0, "edge-01", len(POINTS))
    assert data["evidence"]["board"]["hat"]["product"] == "a product"
    assert text.read_text() == report_text(report)
    assert "✓ HW-10 The PCIe link runs at full speed [passed]\n      8 GT/s x1\n" in report_text(report)
    assert json.loads(report_json(report)) == data


def test_what_a_device_says_cannot_move_the_terminal(good: Evidence) -> None:
    evil = board(good, model="Raspberry Pi 5\x1b[2J")
    shown = report_text(HardwareReport("edge-01", NOW, NOW, judge(evil), evil))
    assert "\x1b" not in shown
    assert "Raspberry Pi 5\\x1b[2J" in shown


def test_the_page_lists_every_point() -> None:
    page = PAGE.read_text()
    for point in POINTS:
        assert f"| {point.id} | {point.title} |" in page


def site_of(server: SshServer, folder: Path) -> Path:
    """Write a site whose only host is the loopback server."""
    connection = server.connection
    hosts = folder / "inventory/one/hosts.yaml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(
        f"all:\n  hosts:\n    edge-01:\n      ansible_host: 127.0.0.1\n      ansible_port: {connection.port}\n"
        f"      ansible_user: tester\n      ansible_become: false\n"
        f"      ansible_ssh_private_key_file: {connection.key_file}\n"
        f"      hatfleet_known_hosts: {connection.known_hosts}\n"
    )
    return folder


def provision(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "provision"), "hardware-test", *arguments]
    done = subprocess.run(command, cwd=site, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.skipif(Path(Commands().hatserve).exists(), reason="this machine has hatserve where a device has it")
def test_the_command_prints_and_keeps_its_report(server: SshServer, tmp_path: Path) -> None:
    site = site_of(server, tmp_path / "site")
    done = provision(site, "edge-01", "--report", "kept/report.json", "--json")
    assert done.returncode == ExitCode.CHECK_FAILED, done.stderr
    assert json.loads(done.stdout) == json.loads((site / "kept/report.json").read_text())
    assert "✗ HW-01" in (site / "kept/report.txt").read_text()
    assert provision(site, "edge-01").stdout.startswith("hardware test of edge-01")
    assert len(list((site / "out/hardware").glob("edge-01-*.json"))) == 1


def test_a_host_that_is_not_in_the_inventory_is_bad_input(server: SshServer, tmp_path: Path) -> None:
    done = provision(site_of(server, tmp_path / "site"), "edge-02")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "edge-02" in done.stderr


def test_a_report_that_the_text_would_overwrite_is_bad_input(server: SshServer, tmp_path: Path) -> None:
    done = provision(site_of(server, tmp_path / "site"), "edge-01", "--report", "report.txt")
    assert done.returncode == ExitCode.BAD_INPUT
    assert "--report FILE.json" in done.stderr
