"""plan, apply and check on booted devices: idempotent, honest about every host, clear about every failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, STATE, Provision

pytestmark = pytest.mark.fleet


def test_the_image_passes_its_checks_before_any_apply(
    lab_devices: tuple[str, ...], run_json: Callable[..., Any]
) -> None:
    """What the roles built into the image holds on the booted device; only its name is still to come."""
    report = run_json("check", "-i", "lab", "-l", lab_devices[0], expect=None)
    bad = {c["id"]: c["message"] for c in report["hosts"][0]["controls"] if c["outcome"] in ("failed", "error")}
    assert bad.keys() == {"HF-BASE-001", "HF-BASE-002"}, bad


def test_nothing_failed_at_the_first_boot(lab_devices: tuple[str, ...], on_device: Callable[..., str]) -> None:
    assert on_device(lab_devices[0], "systemctl --failed --no-legend --plain") == ""


def test_plan_changes_nothing(lab_devices: tuple[str, ...], run_json: Callable[..., Any]) -> None:
    first, second = run_json("plan", "-i", "lab"), run_json("plan", "-i", "lab")
    assert [host["operations"] for host in first["hosts"]] == [host["operations"] for host in second["hosts"]]


def test_apply_again_changes_nothing(applied: tuple[str, ...], run_json: Callable[..., Any]) -> None:
    report = run_json("apply", "-i", "lab")
    assert {host["name"]: host["state"] for host in report["hosts"]} == dict.fromkeys(applied, "ok")


def test_apply_writes_a_report(applied: tuple[str, ...], provision: Provision, tmp_path: Path) -> None:
    provision("apply", "-i", "lab", "-r", "governor", "--report", str(tmp_path / "report.json"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert [host["name"] for host in report["hosts"]] == list(applied)


def test_plan_shows_a_damaged_file_as_a_diff(
    applied: tuple[str, ...], provision: Provision, on_device: Callable[..., str]
) -> None:
    on_device(applied[0], "echo 'Storage=none' >> /etc/systemd/journald.conf.d/zz-hatfleet.conf")
    shown = provision("plan", "-i", "lab", "-l", applied[0], "-r", "base").stdout
    assert "-Storage=none" in shown
    assert "to change" in shown
    provision("apply", "-i", "lab", "-l", applied[0], "-r", "base")


def test_a_failing_operation_ends_its_host_with_the_reason(
    applied: tuple[str, ...], run_json: Callable[..., Any], on_device: Callable[..., str]
) -> None:
    device = applied[0]
    on_device(device, "rm -f /etc/locale.conf; mkdir -p /etc/locale.conf/in-the-way")
    try:
        report = run_json("apply", "-i", "lab", "-r", "base", expect=1)
        states = {host["name"]: host["state"] for host in report["hosts"]}
        assert states == {device: "failed", applied[1]: "ok"}
        failed = next(host for host in report["hosts"] if host["name"] == device)
        assert "locale.conf" in failed["error"]
    finally:
        on_device(device, "rm -rf /etc/locale.conf")
    assert run_json("apply", "-i", "lab", "-r", "base")["hosts"][0]["state"] == "changed"


def test_interrupted_apply_says_so_and_the_next_one_works(
    applied: tuple[str, ...], run_json: Callable[..., Any], on_device: Callable[..., str]
) -> None:
    on_device(applied[0], "rm -f /etc/sysctl.d/90-hatfleet.conf /etc/locale.conf")
    environment = {**os.environ, "XDG_STATE_HOME": str(STATE)}
    target = ("apply", "-i", "lab", "-l", applied[0], "-r", "base,harden")
    command = [str(Path(sys.executable).parent / "provision"), *target, "--json"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout
    while '"connected"' not in (line := process.stdout.readline()):
        assert line, "the run ended before it was connected"
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert json.loads(output.splitlines()[-1])["hosts"][0]["state"] == "interrupted"
    assert run_json(*target)["hosts"][0]["state"] in ("changed", "ok")
    assert run_json(*target)["hosts"][0]["state"] == "ok"


def test_trust_records_a_key_only_with_the_right_fingerprint(
    applied: tuple[str, ...], provision: Provision, on_device: Callable[..., str]
) -> None:
    listing = on_device(applied[0], "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    right = next(word for word in listing.split() if word.startswith("SHA256:"))
    wrong = provision("trust", applied[0], "-i", "lab", "--fingerprint", "SHA256:" + "A" * 43, expect=2)
    assert "shows another key" in wrong.stderr
    assert "recorded" in provision("trust", applied[0], "-i", "lab", "--fingerprint", right).stdout
    provision("plan", "-i", "lab", "-l", applied[0], "-r", "governor")


def test_junit_report_is_written(applied: tuple[str, ...], provision: Provision, tmp_path: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    provision("check", "-i", "lab", "-r", "governor", "--junit", str(tmp_path / "check.xml"))
    suites = ElementTree.parse(tmp_path / "check.xml").getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == list(applied)
