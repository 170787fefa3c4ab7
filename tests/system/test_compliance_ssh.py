"""Checks over a connection: real SSH to a loopback server, in the real worker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode
from hatfleet.common.site import Site
from hatfleet.compliance.results import HostOutcome, Listing, Outcome
from hatfleet.compliance.runner import check_hosts, list_controls
from hatfleet.compliance.worker import image_name
from hatfleet.fleet.ssh import CommandOutput
from tests.ssh_server import SshServer
from tests.unit.compliance_site import job_over_ssh, write_role

CHECKS = r"""
    @control("T-SSH-001", "A command's exit status and output come back whole")
    def test_output(host):
        result = host.run("printf 'out\\377'; echo err >&2; exit 42")
        assert (result.rc, result.stdout_bytes, result.stderr) == (42, b"out\xff", "err\n")

    @control("T-SSH-002", "Quotes and dollars reach the device's shell as they are")
    def test_quoting(host):
        assert host.check_output("printf %s", "it's \"$HOME\" & `id`") == "it's \"$HOME\" & `id`"

    @control("T-SSH-003", "There is no terminal and nothing to read")
    def test_no_terminal(host):
        assert host.run("tty; cat; test -t 1").rc == 1

    @control("T-SSH-004", "testinfra's modules work")
    def test_modules(host):
        assert host.file("/etc/passwd").is_file and host.user("root").uid == 0
"""

CUT = """
    @control("T-CUT-001", "Before the cut")
    def test_before(host):
        assert host.run("true").rc == 0

    @control("T-CUT-002", "The connection is lost here")
    def test_cut(host):
        host.run("touch {flag}; sleep 30")

    @control("T-CUT-003", "Never reached")
    def test_after(host):
        assert host.run("true").rc == 0
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    write_role(site, "remote", CHECKS)
    return site


@pytest.fixture(scope="module")
def listing(site: Path) -> Listing:
    return list_controls(Site(site), ["remote"])


def test_checks_run_over_one_connection(site: Path, listing: Listing, server: SshServer) -> None:
    report = check_hosts([job_over_ssh(site, "node", ["remote"], server.connection)], listing)
    assert [(result.id, result.outcome, result.message) for result in report.hosts[0].controls] == [
        (control.id, Outcome.PASSED, "") for control in listing.controls
    ]
    assert report.exit_code is ExitCode.OK
    assert len(server.transports) == 1


def fake_sudo(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    (folder / "sudo").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_checks_run_in_one_root_shell_when_the_login_user_is_not_root(
    tmp_path: Path, site: Path, listing: Listing, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_sudo(tmp_path / "bin", monkeypatch, f'echo "$1 $2" >> {tmp_path}/calls; shift 2; exec "$@"')
    connection = server.connection.model_copy(update={"become": True})
    report = check_hosts([job_over_ssh(site, "node", ["remote"], connection)], listing)
    assert report.hosts[0].outcome is HostOutcome.PASSED, report.hosts[0]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["-n -H"], "one root shell serves all checks"


def test_a_device_where_sudo_asks_for_a_password_is_unreachable_and_says_so(
    tmp_path: Path, site: Path, listing: Listing, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_sudo(tmp_path / "bin", monkeypatch, 'echo "sudo: a password is required" >&2; exit 1')
    connection = server.connection.model_copy(update={"become": True})
    report = check_hosts([job_over_ssh(site, "node", ["remote"], connection)], listing)
    assert report.exit_code is ExitCode.UNREACHABLE
    assert "a password is required" in report.hosts[0].reason
    assert "NOPASSWD" in report.hosts[0].hint


def test_a_host_with_an_unknown_key_is_unreachable_and_the_others_are_checked(
    tmp_path: Path, site: Path, listing: Listing, server: SshServer
) -> None:
    stranger = server.connection.model_copy(update={"known_hosts": tmp_path / "nobody"})
    jobs = [
        job_over_ssh(site, "stranger", ["remote"], stranger),
        job_over_ssh(site, "node", ["remote"], server.connection),
    ]
    report = check_hosts(jobs, listing, forks=1)
    assert [host.outcome for host in report.hosts] == [HostOutcome.UNREACHABLE, HostOutcome.PASSED]
    assert "host key" in report.hosts[0].reason
    assert "provision trust" in report.hosts[0].hint
    assert report.exit_code is ExitCode.UNREACHABLE


def test_a_connection_lost_on_the_way_is_unreachable_and_stops_the_host(tmp_path: Path, server: SshServer) -> None:
    flag = tmp_path / "flag"
    write_role(tmp_path / "site", "cut", CUT.format(flag=flag))
    site = Site(tmp_path / "site")
    job = job_over_ssh(site.root, "node", ["cut"], server.connection)

    def cut_when_it_waits(progress: object) -> None:
        # The first control is done: wait until the second one's command runs on the "device", then cut.
        if getattr(progress, "done", 0) == 1:
            while not flag.exists():
                pass
            server.cut()

    report = check_hosts([job], list_controls(site, ["cut"]), on_progress=cut_when_it_waits)
    host = report.hosts[0]
    assert host.outcome is HostOutcome.UNREACHABLE
    assert "connection was lost" in host.reason
    assert "after 2 of 3 controls" in host.reason
    assert [result.outcome for result in host.controls] == [Outcome.PASSED, Outcome.ERROR]


@pytest.mark.parametrize(
    ("content", "image"),
    [
        (json.dumps({"name": "edge-virt", "version": "1.2"}), "edge-virt 1.2"),
        ("not json \x1b[2J", None),
        ("[1, 2]", None),
    ],
)
def test_the_image_is_named_when_the_device_says_what_it_runs(content: str, image: str | None) -> None:
    assert image_name(lambda _: CommandOutput(0, content.encode(), b"")) == image
