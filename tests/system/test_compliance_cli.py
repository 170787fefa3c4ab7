"""``provision check`` as a user runs it: real command line, inventory, SSH to a loopback server, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.ssh_server import SshServer
from tests.unit.compliance_site import write_role

CHECKS = """
    @control("T-CLI-001", "The declared word is said", refs=["CIS 1"])
    def test_word(host, settings, device):
        found = host.check_output("echo default")
        assert found == settings.wanted, f"{device.name} says {found}, wanted {settings.wanted}"
"""


@pytest.fixture
def site(tmp_path: Path, server: SshServer) -> Path:
    site = tmp_path / "site"
    write_role(site, "words", CHECKS)
    (site / "deploys").mkdir()
    (site / "deploys" / "site.py").write_text('ROLES = ("words",)\n')
    inventory = site / "inventory" / "demo"
    inventory.mkdir(parents=True)
    connection = server.connection
    (inventory / "known_hosts").write_text(connection.known_hosts.read_text())
    (inventory / "hosts.yaml").write_text(
        f"""
all:
  vars:
    ansible_host: {connection.address}
    ansible_port: {connection.port}
    ansible_user: {connection.user}
    ansible_ssh_private_key_file: {connection.key_file}
    ansible_become: false
  hosts:
    right: {{}}
    wrong:
      words:
        wanted: hello
"""
    )
    return site


def provision_check(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatfleet.cli.main", "check", *arguments]
    return subprocess.run(command, cwd=site, capture_output=True, text=True, timeout=60, check=False)


def test_a_failed_control_is_named_in_every_form_and_ends_with_5(site: Path) -> None:
    ended = provision_check(site, "--junit", "out/check.xml")
    assert ended.returncode == 5, ended.stderr
    assert "T-CLI-001 words: The declared word is said [failed]" in ended.stdout
    assert "wrong says default, wanted hello" in ended.stdout
    assert "right: passed (1 of 1 controls, 0 failed)" in ended.stderr
    suites = {suite.get("name"): suite for suite in ET.parse(site / "out" / "check.xml").getroot()}
    assert {name: suite.get("failures") for name, suite in suites.items()} == {"right": "0", "wrong": "1"}


def test_all_passed_ends_with_0_and_json_is_all_there_is_on_standard_output(site: Path) -> None:
    ended = provision_check(site, "--json", "-l", "right", "-r", "words")
    assert ended.returncode == 0, ended.stderr
    data = json.loads(ended.stdout)
    assert data["exit_code"] == 0
    assert [(host["name"], host["outcome"]) for host in data["hosts"]] == [("right", "passed")]


def test_a_wrong_checks_file_ends_with_2_before_any_host_is_touched(site: Path, server: SshServer) -> None:
    (site / "roles" / "words" / "checks.py").write_text("def test_word():\n    assert True\n")
    ended = provision_check(site)
    assert ended.returncode == 2
    assert "roles/words/checks.py:1 at test_word: the test has no control id" in ended.stderr
    assert "hint: write @control" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert server.transports == []


def test_list_needs_no_host_and_refuses_options_that_have_no_meaning_with_it(site: Path, server: SshServer) -> None:
    listed = provision_check(site, "--list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [control["id"] for control in json.loads(listed.stdout)["controls"]] == ["T-CLI-001"]
    refused = provision_check(site, "--list", "-l", "right")
    assert refused.returncode == 2
    assert "--list runs nothing" in refused.stderr
    assert server.transports == []
