"""The engine on booted devices: nothing is lost when it is cut off, few commands, one operator at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import load_inventory
from hatfleet.fleet.job import HostJob, Job, Mode, RoleRun
from hatfleet.fleet.resolve import resolve_connection
from hatfleet.fleet.results import HostState, Status
from hatfleet.fleet.runner import run_job
from tests.conftest import ROOT, STATE, Provision

pytestmark = pytest.mark.fleet

ENVIRONMENT = {**os.environ, "XDG_STATE_HOME": str(STATE)}
PROVISION = str(Path(sys.executable).parent / "provision")

#: What the damage takes away: files of three roles, one of them a unit's, one followed by a restart.
FILES = "/etc/sysctl.d/90-hatfleet.conf /etc/locale.conf /etc/systemd/system/tmp.mount /etc/default/cpu_governor"


def test_an_apply_with_nothing_to_do_takes_few_commands(
    applied: tuple[str, ...], provision: Provision, tmp_path: Path
) -> None:
    provision("apply", "-i", "lab", "-l", applied[0])
    trace = tmp_path / "trace"
    command = [PROVISION, "apply", "-i", "lab", "-l", applied[0]]
    subprocess.run(
        command, cwd=ROOT, env={**ENVIRONMENT, "HATFLEET_TRACE": str(trace)}, check=True, capture_output=True
    )
    commands = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {one["purpose"] for one in commands} == {"gather"}
    assert len(commands) <= 6


def test_runs_that_are_cut_off_lose_nothing(applied: tuple[str, ...], tmp_path: Path) -> None:
    """A few instants here; python -m bench.faults has fifty (docs/benchmarks.md)."""
    command = [sys.executable, "-m", "bench.faults", "-i", "lab", "-l", applied[0], "--instants", "4", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("nothing lost") + done.stdout.count("nothing lost") == 4


def test_after_a_power_cut_in_mid_apply_the_others_are_done_and_the_next_run_completes(
    applied: tuple[str, ...], provision: Provision, run_json: Callable[..., Any], on_device: Callable[..., str]
) -> None:
    device = applied[1]
    on_device(device, f"rm -f {FILES}; sync")
    process = subprocess.Popen(
        [PROVISION, "apply", "-i", "lab", "-l", device, "--json"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    while '"op-started"' not in (line := process.stdout.readline()):
        assert line, "the run ended before anything was changed"
    provision("lab", "power", device, "cut")
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (1, 3), errors

    off = run_json("apply", "-i", "lab", "-r", "governor", expect=3)
    assert {host["name"]: host["state"] for host in off["hosts"]} == {applied[0]: "ok", device: "unreachable"}
    checked = run_json("check", "-i", "lab", "-r", "governor", expect=3)
    assert {host["name"]: host["outcome"] for host in checked["hosts"]}[device] == "unreachable"

    provision("lab", "start", device)
    report = run_json("apply", "-i", "lab", "-l", device)
    assert report["hosts"][0]["state"] in ("changed", "ok")
    assert on_device(device, f"ls {FILES}").split() == sorted(FILES.split())
    assert on_device(device, "find /etc /usr /var -xdev -name '.hatfleet.????????'") == ""
    assert run_json("apply", "-i", "lab", "-l", device)["hosts"][0]["state"] == "ok"


def test_a_role_may_restart_the_device_and_go_on(applied: tuple[str, ...], tmp_path: Path) -> None:
    role = tmp_path / "site" / "roles" / "restarts"
    role.mkdir(parents=True)
    (role / "settings.py").write_text(
        "from hatfleet.fleet.settings import RoleSettings\n\n\nclass Settings(RoleSettings):\n"
        '    word: str\n    """What to write."""\n'
    )
    (role / "__init__.py").write_text(
        "from hatfleet import ops\n\n\ndef device(settings, device):\n"
        "    first = ops.file(name='first', path='/var/lib/hatfleet-restart/a', content=settings.word)\n"
        "    ops.reboot(name='restart', triggers=[first])\n"
        "    ops.file(name='after', path='/var/lib/hatfleet-restart/b', content=settings.word)\n"
    )
    inventory = load_inventory([STATE / "hatfleet" / "lab" / "inventory" / "hosts.yaml"])
    host = inventory.hosts[applied[1]]
    connection = resolve_connection(Site.find(ROOT), host, inventory.variables(host.name))
    run = RoleRun(name="restarts", settings={"word": "one"})
    hosts = (HostJob(name=host.name, connection=connection, roles=(run,)),)
    job = Job(mode=Mode.APPLY, site=tmp_path / "site", hosts=hosts)
    report = run_job(job)
    assert report.hosts[0].state is HostState.CHANGED, report.hosts[0].error
    assert {op.name: op.status for op in report.hosts[0].operations} == dict.fromkeys(
        ("first", "restart", "after"), Status.CHANGED
    )
    assert run_job(job).hosts[0].state is HostState.OK
