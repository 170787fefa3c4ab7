"""A recipe's allow-list, the sockets of a device, the report of a refused image, and the reference of the rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hatfleet.common.errors import ExitCode, HatfleetError, InputErrors
from hatfleet.common.validate import validate
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.job import RoleRun
from hatfleet.image.gate import (
    RULES,
    Allow,
    device_listeners,
    judge_listeners,
    policy_of,
    recipe_facts,
    reject,
)
from tests.unit.gate_tree import make_tree

DOCS = Path(__file__).parents[2] / "docs/reference/image-gate.md"


def read(tmp_path: Path, text: str) -> Allow:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return validate(Allow, load_yaml(file), ("allow",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("units: [ssh]\n", "allow.units.0"),
        ("unit: [ssh.service]\n", "unknown key 'unit'.*units"),
        ("setuid: [usr/bin/su]\n", "allow.setuid.0"),
        ("listen: [22]\n", "allow.listen.0"),
        ("listen: [tcp/0]\n", "there is no port 0: give one from 1 to 65535"),
        ("listen: [tcp/70000]\n", "there is no port 70000"),
        ("files: [{path: /a, sha256: abc, reason: a test key}]\n", "allow.files.0.sha256"),
        (f"files: [{{path: /a, sha256: {'0' * 64}}}]\n", "allow.files.0.reason"),
        (
            "remove: {units: [sshd.service]}\n",
            "'sshd.service' is not among the default units.*did you mean 'ssh.service'",
        ),
        ("remove: {listen: [tcp/23]}\n", "'tcp/23' is not among the default listen"),
    ],
)
def test_a_wrong_entry_is_an_error_with_its_line_and_what_is_allowed(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        read(tmp_path, text)
    said = "\n".join(f"{error} {error.hint}" for error in caught.value.errors)
    assert re.search(message, said, re.DOTALL), said
    assert "recipe.yaml:1" in said


def test_a_recipe_adds_to_the_defaults_and_takes_from_them(tmp_path: Path) -> None:
    allow = read(tmp_path, "units: [app.service]\nlisten: [tcp/443]\nremove: {units: [fstrim.timer]}\n")
    policy = policy_of(recipe_facts((), allow), {"openssh-server", "util-linux"})
    assert {"app.service", "ssh.service"} <= policy.units
    assert "fstrim.timer" not in policy.units
    assert policy.listen == {"tcp/22", "tcp/443"}


def test_the_account_and_its_keys_come_from_the_role_base() -> None:
    admin = {"name": "ops", "authorized_keys": ["ssh-ed25519 AAAAC3one a", "no-pty ssh-ed25519 AAAAC3two"]}
    facts = recipe_facts((RoleRun(name="base", settings={"admin": admin}), RoleRun(name="harden", settings={})))
    assert facts.roles == {"base", "harden"}
    assert facts.accounts == {"ops"}
    assert facts.authorized_keys == {"AAAAC3one", "AAAAC3two"}


# --- Sockets

SS = """\
udp   UNCONN 0      0                    127.0.0.54:53        0.0.0.0:*    users:(("systemd-resolve",pid=301,fd=17))
udp   UNCONN 0      0              10.0.2.15%enp0s1:68        0.0.0.0:*    users:(("systemd-network",pid=287,fd=22))
udp   UNCONN 0      0      [fe80::5054:ff:fe12:1]%enp0s1:546       [::]:*    users:(("systemd-network",pid=287,fd=23))
tcp   LISTEN 0      128                     0.0.0.0:22        0.0.0.0:*    users:(("sshd",pid=400,fd=6))
tcp   LISTEN 0      4096              127.0.0.53%lo:53        0.0.0.0:*    users:(("systemd-resolve",pid=301,fd=20))
tcp   LISTEN 0      128                        [::]:22           [::]:*    users:(("sshd",pid=400,fd=7))
"""
ALLOWED = ("tcp/22", "udp/68", "udp/546", "tcp/loopback:53", "udp/loopback:53")


def test_the_allowed_sockets_are_no_findings() -> None:
    assert judge_listeners(SS, ALLOWED) == ()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('tcp LISTEN 0 5 0.0.0.0:8080 0.0.0.0:* users:(("python3",pid=9,fd=3))', "tcp/8080"),
        ('tcp LISTEN 0 5 *:8080 *:* users:(("python3",pid=9,fd=3))', "tcp/8080"),
        ('tcp LISTEN 0 5 [::]:8080 [::]:* users:(("python3",pid=9,fd=3))', "tcp/8080"),
        ("udp UNCONN 0 0 0.0.0.0:5353 0.0.0.0:*", "udp/5353"),
        ("udp UNCONN 0 0 0.0.0.0:53 0.0.0.0:*", "udp/53"),
        ("udp UNCONN 0 0 0.0.0.0:22 0.0.0.0:*", "udp/22"),
        ("tcp LISTEN 0 5 [::1]:631 [::]:*", "tcp/loopback:631"),
        ("tcp LISTEN 0 5 [::ffff:127.0.0.1]:631 *:*", "tcp/loopback:631"),
    ],
)
def test_a_socket_that_is_not_allowed_is_found(line: str, name: str) -> None:
    (finding,) = judge_listeners(SS + line + "\n", ALLOWED)
    assert (finding.rule, finding.path) == ("HF-IMG-014", name)
    assert ("python3" in finding.what) is ("python3" in line)


def test_one_port_on_two_addresses_is_one_finding() -> None:
    assert len(judge_listeners(SS, ())) == 5


def test_who_may_listen_everywhere_may_listen_on_loopback() -> None:
    assert judge_listeners("tcp LISTEN 0 5 127.0.0.1:22 0.0.0.0:*\n", ("tcp/22",)) == ()


@pytest.mark.parametrize("line", ["tcp LISTEN 0 5", "tcp LISTEN 0 5 0.0.0.0:ssh 0.0.0.0:*", "tcp LISTEN 0 5 host:22 x"])
def test_a_line_that_cannot_be_read_is_an_error_never_left_out(line: str) -> None:
    with pytest.raises(HatfleetError, match="cannot be understood"):
        judge_listeners(line, ALLOWED)


def test_the_command_asks_for_everything_that_is_judged() -> None:
    asked: list[str] = []

    def run(command: str) -> str:
        asked.append(command)
        return SS

    assert device_listeners(run, ALLOWED) == ()
    (command,) = asked
    assert {"-l", "-n", "-t", "-u"} <= set(command.split())


# --- A refused image


def test_a_refused_image_is_kept_under_another_name_with_the_report(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    tree.put("/etc/machine-id", "0" * 32)
    report = tree.judge()
    for content in ("first", "second"):
        folder = tmp_path / "edge"
        folder.mkdir()
        (folder / "edge.img").write_text(content)
        error = reject(folder, report)
        assert not folder.exists()
    kept = tmp_path / "edge.rejected"
    assert (kept / "edge.img").read_text() == "second"
    written = json.loads((kept / "gate.json").read_text())
    assert written["passed"] is False and written["findings"][0]["rule"] == "HF-IMG-009"
    assert error.exit_code is ExitCode.CHECK_FAILED
    assert "HF-IMG-009 /etc/machine-id" in str(error) and str(kept) in str(error.hint)


def test_the_reference_lists_exactly_the_rules() -> None:
    rows = re.findall(r"^\| (HF-IMG-\d+) \| ([^|]+) \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    assert [tuple(cell.strip() for cell in row) for row in rows] == [(rule.id, rule.title, rule.fix) for rule in RULES]
