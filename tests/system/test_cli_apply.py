"""apply, report and completion as a user runs them, over real connections to a loopback server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hatfleet.fleet.results import OUTPUT_LINE, RunReport
from tests.ssh_server import SshServer

Run = Callable[..., subprocess.CompletedProcess[str]]

ROLE = """
def device(settings, device):
    if device.name in settings.root:
        raise ValueError("this host is to fail")
    ops.on_change(name="note", triggers=[], command="true")
"""


@pytest.fixture
def site(tmp_path: Path, make_role: Callable[[str, str], Path], server: SshServer) -> Path:
    """A site with three hosts and one role; the hosts that the setting names fail."""
    site = make_role("demo", ROLE)
    (site / "deploys").mkdir()
    (site / "deploys" / "site.py").write_text('ROLES = ("demo",)\n')
    (site / "inventory" / "one").mkdir(parents=True)
    inventory = f"""
        all:
          hosts:
            edge-01: {{hatfleet_lease_file: {server.folder}/lease-1}}
            edge-02: {{hatfleet_lease_file: {server.folder}/lease-2}}
            edge-03: {{hatfleet_lease_file: {server.folder}/lease-3}}
          children: {{rack-a: {{hosts: {{edge-01: }}}}}}
          vars:
            ansible_host: {server.connection.address}
            ansible_port: {server.connection.port}
            ansible_user: tester
            ansible_become: false
            ansible_ssh_private_key_file: {server.connection.key_file}
            hatfleet_known_hosts: {server.connection.known_hosts}
            demo: {{root: none}}
    """
    (site / "inventory" / "one" / "hosts.yaml").write_text(textwrap.dedent(inventory))
    return site


@pytest.fixture
def provision(site: Path, tmp_path: Path) -> Run:
    """Run the command line in the site."""

    def run(*arguments: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "provision"), *arguments],
            cwd=site,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def fail(site: Path, hosts: str) -> None:
    path = site / "inventory" / "one" / "hosts.yaml"
    path.write_text(path.read_text().replace("{root: none}", f"{{root: {hosts}}}"))


def states(report: RunReport) -> dict[str, str]:
    return {host.name: host.state.value for host in report.hosts}


def test_apply_json_is_lines_as_it_happens_and_the_report_last(provision: Run) -> None:
    lines = provision("apply", "--json").stdout.splitlines()
    *events, report = (OUTPUT_LINE.validate_json(line) for line in lines)
    assert isinstance(report, RunReport)
    assert states(report) == dict.fromkeys(("edge-01", "edge-02", "edge-03"), "ok")
    assert {event.event for event in events} >= {"host-started", "connected", "prepared", "host-finished"}
    assert [stage.hosts for stage in report.stages] == [("edge-01", "edge-02", "edge-03")]
    assert report.started <= report.ended


def test_plan_json_is_one_report(provision: Run) -> None:
    assert RunReport.model_validate_json(provision("plan", "--json", "--forks", "1").stdout).mode == "plan"


def test_a_failed_canary_stops_the_rollout_and_says_how_to_go_on(site: Path, provision: Run) -> None:
    fail(site, "edge-01")
    done = provision("apply", "--serial", "1", "--max-fail", "0", expect=1)
    assert "--max-fail allows 0" in done.stdout
    assert "report show --failed" in done.stderr
    report = json.loads(provision("report", "show", "--json").stdout)
    assert [host["state"] for host in report["hosts"]] == ["failed", "skipped", "skipped"]
    failed = provision("report", "show", "--failed").stdout
    assert failed.split() == ["edge-01", "edge-02", "edge-03"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--serial", "0"),
        ("--serial", "a"),
        ("--max-fail", "200%"),
        ("--forks", "0"),
        ("--scheduler", "tcp://127.0.0.1:8786"),
        ("--tls-ca", "ca.pem"),
    ],
)
def test_bad_stages_limits_and_schedulers_are_bad_input(provision: Run, option: str, value: str) -> None:
    assert option in provision("apply", option, value, expect=2).stderr


def test_ctrl_c_prints_and_keeps_how_far_each_host_was(site: Path, provision: Run, tmp_path: Path) -> None:
    (site / "roles" / "demo" / "__init__.py").write_text(
        "from hatfleet import ops\n\ndef device(settings, device):\n    ops.require(script='sleep 60', message='')\n"
    )
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "provision"), "apply", "--json"],
        cwd=site,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    while '"connected"' not in (line := process.stdout.readline()):
        assert line, "the run ended before it was connected"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report = OUTPUT_LINE.validate_json(output.splitlines()[-1])
    assert isinstance(report, RunReport)
    assert set(states(report).values()) == {"interrupted"}
    assert provision("report", "show", "--failed").stdout.split() == ["edge-01", "edge-02", "edge-03"]


def test_past_runs_are_listed_shown_and_compared(site: Path, provision: Run) -> None:
    provision("apply")
    fail(site, "edge-02")
    provision("apply", expect=1)
    newest, oldest = json.loads(provision("report", "list", "--json").stdout)
    assert (newest["exit_code"], newest["states"]) == (1, {"ok": 2, "failed": 1})
    assert oldest["id"] in provision("report", "list").stdout
    shown = provision("report", "show", oldest["id"]).stdout
    assert "edge-03" in shown
    assert "3 hosts: 3 ok" in shown
    assert "edge-02  ok → failed" in provision("report", "diff", oldest["id"]).stdout
    difference: dict[str, Any] = json.loads(provision("report", "diff", oldest["id"], "--json").stdout)
    assert difference["hosts"] == [{"host": "edge-02", "before": "ok", "after": "failed"}]


def test_without_reports_show_says_what_writes_one(provision: Run) -> None:
    assert "provision apply" in provision("report", "show", expect=2).stderr
    assert provision("report", "list", "--json").stdout.strip() == "[]"


def test_a_report_of_another_version_does_not_spoil_the_list(provision: Run, tmp_path: Path) -> None:
    provision("apply", "-l", "edge-01")
    (tmp_path / "state" / "hatfleet" / "runs" / "20000101T000000.000000Z-apply.json").write_text("{}")
    done = provision("report", "list", "--json")
    assert len(json.loads(done.stdout)) == 1
    assert "20000101T000000" in done.stderr.replace("\n", "")


def test_the_schema_describes_every_line_of_apply(provision: Run) -> None:
    schema = json.loads(provision("report", "--schema").stdout)
    titles = set(schema["$defs"])
    assert {"RunReport", "HostStarted", "HostFinished", "OpFinished", "StageReport"} <= titles


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_the_shells_own(provision: Run, shell: str) -> None:
    script = provision("completion", shell).stdout
    assert f"_PROVISION_COMPLETE={shell}_complete" in script


def complete(provision: Run, shell: str, *words: str) -> str:
    """Ask what a shell's script asks: bash and zsh say which word the cursor is in, fish gives the word itself."""
    cursor = words[-1] if shell == "fish" else str(len(words))
    line = " ".join(("provision", *words)).rstrip()
    return provision(COMP_WORDS=line, COMP_CWORD=cursor, _PROVISION_COMPLETE=f"{shell}_complete").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_completes_hosts_groups_and_roles(provision: Run, shell: str) -> None:
    offered = complete(provision, shell, "apply", "-l", "")
    assert "edge-02" in offered
    assert "rack-a" in offered
    assert "demo" in complete(provision, shell, "apply", "-r", "de")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("apply", "-l", "edge-01,!edge-0"), "edge-01,!edge-03"),
        (("apply", "--se"), "--serial"),
        (("report", "show", "la"), "latest"),
    ],
)
def test_completion_knows_lists_options_and_reports(provision: Run, words: tuple[str, ...], wanted: str) -> None:
    assert wanted in complete(provision, "bash", *words)


def test_bash_completes_with_the_script(provision: Run, site: Path, tmp_path: Path) -> None:
    (tmp_path / "complete.bash").write_text(provision("completion", "bash").stdout)
    code = 'source "$1"; COMP_WORDS=(provision apply -l rack); COMP_CWORD=3; '
    code += '_provision_completion "$2"; echo "${COMPREPLY[@]}"'
    program = str(Path(sys.executable).parent / "provision")
    command = ["bash", "-c", code, "-", str(tmp_path / "complete.bash"), program]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "rack-a", done.stderr
