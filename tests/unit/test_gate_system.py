"""Accounts, rights, identities and units of an image: each rule trips on what is planted, and on nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hatfleet.image.gate import Allow
from hatfleet.image.gate.policy import defaults
from tests.unit.gate_tree import ADMIN, Tree, make_tree

HASH, ACCOUNT, OPEN, IDENTITY = "HF-IMG-003", "HF-IMG-006", "HF-IMG-007", "HF-IMG-009"
WRITABLE, NO_OWNER, SETID, UNIT = "HF-IMG-010", "HF-IMG-011", "HF-IMG-012", "HF-IMG-013"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return make_tree(tmp_path / "root")


def add(tree: Tree, path: str, line: str) -> None:
    with (tree.root / path).open("a") as handle:
        handle.write(line + "\n")


# --- Accounts


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("guest:x:1001:0::/home/guest:/bin/bash", "the account guest (uid 1001) is not declared"),
        ("robot:x:1001:0::/:/usr/sbin/nologin", "the account robot (uid 1001) is not declared"),
        ("pi:x:999:0::/home/pi:/usr/sbin/nologin", "the account pi (uid 999) is not declared"),
        ("toor:x:0:0::/root:/usr/sbin/nologin", "the account toor is root by another name"),
    ],
)
def test_an_account_that_nobody_declared_is_found(line: str, what: str, tree: Tree) -> None:
    add(tree, "etc/passwd", line)
    assert [(finding.rule, finding.what) for finding in tree.findings()] == [(ACCOUNT, what)]


def test_system_accounts_and_nobody_are_no_findings(tree: Tree) -> None:
    add(tree, "etc/passwd", "sync:x:4:0:sync:/bin:/bin/sync\nsvc:x:998:0::/:/usr/sbin/nologin")
    assert tree.rules() == []


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("etc/shadow", "svc:$6$salt$hash:20000::::::", [(HASH, "/etc/shadow")]),
        ("etc/shadow", "svc:!$6$salt$hash:20000::::::", [(HASH, "/etc/shadow")]),
        ("etc/shadow", "svc:abJnggxhB/yWI:20000::::::", [(HASH, "/etc/shadow")]),
        ("etc/shadow", "svc::20000::::::", [(OPEN, "/etc/shadow")]),
        ("etc/shadow", "svc:!*:20000::::::", []),
        ("etc/shadow", "svc:!!:20000::::::", []),
        ("etc/shadow-", "svc:abJnggxhB/yWI:20000::::::", [(HASH, "/etc/shadow-")]),
        ("etc/gshadow", "team:abJnggxhB/yWI::", [(HASH, "/etc/gshadow")]),
        ("etc/gshadow", "team:::", []),
        ("etc/passwd", "svc:abJnggxhB/yWI:990:1::/:/usr/sbin/nologin", [(HASH, "/etc/passwd")]),
        ("etc/passwd", "svc::990:1::/:/usr/sbin/nologin", [(OPEN, "/etc/passwd")]),
    ],
)
def test_passwords_are_found_locked_or_not(file: str, line: str, found: list[tuple[str, str]], tree: Tree) -> None:
    add(tree, file, line)
    assert tree.rules() == found


@pytest.mark.parametrize(("field", "tripped"), [("$y$x", True), ("", True), ("*", False), ("!", False), ("!*", False)])
def test_root_must_be_locked(field: str, tripped: bool, tree: Tree) -> None:  # noqa: FBT001
    tree.put("/etc/shadow", f"root:{field}:20000::::::\n")
    assert any(rule == OPEN for rule, _ in tree.rules()) is tripped


def test_root_without_a_line_in_shadow_is_found(tree: Tree) -> None:
    tree.put("/etc/shadow", "")
    assert tree.rules() == [(OPEN, "/etc/shadow")]


# --- Identity


@pytest.mark.parametrize("content", ["", "\n", "uninitialized\n"])
def test_an_unmade_machine_id_is_no_finding(content: str, tree: Tree) -> None:
    tree.put("/etc/machine-id", content)
    tree.link("/var/lib/dbus/machine-id", "/etc/machine-id")
    assert tree.rules() == []


def test_a_machine_id_is_found(tree: Tree) -> None:
    tree.put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    assert tree.rules() == [(IDENTITY, "/etc/machine-id")]


@pytest.mark.parametrize(
    "path",
    [
        "/var/lib/dbus/machine-id",
        "/var/lib/systemd/random-seed",
        "/var/lib/systemd/credential.secret",
        "/var/lib/NetworkManager/secret_key",
        "/etc/hostid",
        "/boot/loader/random-seed",
    ],
)
def test_an_identity_in_another_place_is_found(path: str, tree: Tree) -> None:
    tree.put(path, os.urandom(32))
    assert tree.rules() == [(IDENTITY, path)]
    tree.put(path, "")
    assert tree.rules() == []


def test_an_iscsi_name_is_found_but_not_the_order_to_make_one(tree: Tree) -> None:
    tree.put("/etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n")
    assert tree.rules() == []
    tree.put("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:abc\n")
    assert tree.rules() == [(IDENTITY, "/etc/iscsi/initiatorname.iscsi")]


def test_the_journal_of_a_machine_is_found(tree: Tree) -> None:
    folder = "/var/log/journal/0123456789abcdef0123456789abcdef"
    tree.put(f"{folder}/system.journal", b"LPKSHHRH")
    assert tree.rules() == [(IDENTITY, folder)]


# --- Rights


def test_what_everybody_can_change_is_found(tree: Tree) -> None:
    tree.put("/opt/app/file", "x", mode=0o666)
    (tree.root / "srv").mkdir()
    (tree.root / "srv").chmod(0o777)
    tree.link("/opt/app/link", "file")
    assert tree.rules() == [(WRITABLE, "/opt/app/file"), (WRITABLE, "/srv")]


def test_a_folder_for_everybody_with_the_sticky_bit_is_no_finding(tree: Tree) -> None:
    (tree.root / "srv").mkdir()
    (tree.root / "srv").chmod(0o1777)
    assert tree.rules() == []


def test_a_file_without_owner_is_found(tree: Tree) -> None:
    text = (tree.root / "etc/passwd").read_text()
    uid = os.getuid()
    tree.put("/etc/passwd", "\n".join(line for line in text.splitlines() if f":{uid}:" not in line) + "\n")
    found = tree.findings()
    assert {finding.rule for finding in found} == {NO_OWNER}
    assert found[0].what == f"belongs to uid {uid}, which the image does not know"


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_a_setid_program_that_is_not_allowed_is_found(mode: int, tree: Tree) -> None:
    tree.put("/usr/bin/helper", b"\x7fELF", mode=mode)
    assert tree.rules() == [(SETID, "/usr/bin/helper")]
    assert tree.findings(Allow(setuid=["/usr/bin/helper"])) == []


def test_a_setgid_folder_is_no_finding(tree: Tree) -> None:
    (tree.root / "srv").mkdir()
    (tree.root / "srv").chmod(0o2755)
    assert tree.rules() == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setcap"), reason="needs root and libcap2-bin")
def test_file_capabilities_are_found(tree: Tree) -> None:
    subprocess.run(["setcap", "cap_net_raw+ep", str(tree.put("/usr/bin/helper", b"\x7fELF"))], check=True)
    assert tree.rules() == [(SETID, "/usr/bin/helper")]
    assert tree.findings()[0].what == "file capabilities"


def test_defaults_hold_only_where_their_package_is_installed(tree: Tree) -> None:
    tree.put("/usr/bin/sudo", b"\x7fELF", mode=0o4755)
    assert tree.rules() == [(SETID, "/usr/bin/sudo")]
    tree.installed("bash", "sudo")
    assert tree.rules() == []
    assert [
        finding.rule for finding in tree.findings(Allow.model_validate({"remove": {"setuid": ["/usr/bin/sudo"]}}))
    ] == [SETID]


# --- Units

SYSTEM = "/usr/lib/systemd/system"
WANTS = "/etc/systemd/system/multi-user.target.wants"


@pytest.fixture
def units(tree: Tree) -> Tree:
    for name in ("miner.service", "miner.timer", "miner.socket", "tty@.service", "app.target"):
        tree.put(f"{SYSTEM}/{name}", "[Unit]\n")
    return tree


def test_a_unit_that_nothing_starts_is_no_finding(units: Tree) -> None:
    assert units.rules() == []


@pytest.mark.parametrize("name", ["miner.service", "miner.timer", "miner.socket", "tty@one.service"])
@pytest.mark.parametrize(
    "folder",
    [WANTS, f"{SYSTEM}/sysinit.target.wants", "/etc/systemd/system/a.service.requires", f"{SYSTEM}/b.target.upholds"],
)
def test_an_enabled_unit_is_found(name: str, folder: str, units: Tree) -> None:
    file = "tty@.service" if "@" in name else name
    units.link(f"{folder}/{name}", f"{SYSTEM}/{file}")
    assert units.rules() == [(UNIT, f"{folder}/{name}")]
    assert units.findings(Allow(units=[name])) == []
    assert units.findings(Allow(units=[file])) == []


def test_a_masked_unit_is_not_started(units: Tree) -> None:
    units.link(f"{WANTS}/miner.service", f"{SYSTEM}/miner.service")
    units.link(f"{WANTS}/tty@one.service", f"{SYSTEM}/tty@.service")
    units.link("/etc/systemd/system/miner.service", "/dev/null")
    units.link("/etc/systemd/system/tty@.service", "/dev/null")
    assert units.rules() == []


def test_links_to_units_that_are_not_there_and_to_targets_start_nothing(units: Tree) -> None:
    units.link(f"{WANTS}/gone.service", f"{SYSTEM}/gone.service")
    units.link(f"{WANTS}/app.target", f"{SYSTEM}/app.target")
    units.link(f"{SYSTEM}/initrd.target.wants/miner.service", "../miner.service")
    assert units.rules() == []


def test_an_alias_is_judged_by_the_unit_behind_it(units: Tree) -> None:
    units.link(f"{SYSTEM}/harmless.service", "miner.service")
    units.link(f"{WANTS}/harmless.service", f"{SYSTEM}/harmless.service")
    (finding,) = units.findings()
    assert finding.what == "starts miner.service, which is not on the list"


def test_a_unit_that_a_drop_in_pulls_in_is_found(units: Tree) -> None:
    path = "/etc/systemd/system/multi-user.target.d/more.conf"
    units.put(path, "[Unit]\nAfter=x\nWants=miner.service app.target\n")
    assert units.rules() == [(UNIT, path)]


def test_a_unit_that_a_preset_of_the_site_enables_is_found(units: Tree) -> None:
    path = "/etc/systemd/system-preset/10-site.preset"
    units.put(path, "# words\ndisable miner.timer\nenable miner.service\n")
    assert units.rules() == [(UNIT, path)]


def test_units_of_user_sessions_are_judged(units: Tree) -> None:
    units.put("/usr/lib/systemd/user/miner.service", "[Unit]\n")
    path = "/etc/systemd/user/default.target.wants/miner.service"
    units.link(path, "/usr/lib/systemd/user/miner.service")
    assert units.rules() == [(UNIT, path)]
    assert units.findings(Allow(units=["user/miner.service"])) == []


def test_an_old_init_script_without_unit_is_found(units: Tree) -> None:
    for name in ("miner", "legacy"):
        units.put(f"/etc/init.d/{name}", "#!/bin/sh\n", mode=0o755)
        units.link(f"/etc/rc2.d/S01{name}", f"../init.d/{name}")
    units.link("/etc/rc2.d/K01other", "../init.d/miner")
    assert units.rules() == [(UNIT, "/etc/rc2.d/S01legacy")]


def test_an_allowed_unit_that_is_not_there_is_a_warning_with_a_near_name(units: Tree) -> None:
    units.link(f"{WANTS}/miner.service", f"{SYSTEM}/miner.service")
    report = units.judge(Allow(units=["miner.service", "minor.service"]))
    assert report.passed
    assert report.warnings == ("allow.units: there is no minor.service in the image; did you mean miner.service?",)


def test_defaults_of_a_role_hold_only_with_the_role(units: Tree) -> None:
    units.put(f"{SYSTEM}/hatfleet-hostkey.service", "[Unit]\n")
    units.link(f"{WANTS}/hatfleet-hostkey.service", f"{SYSTEM}/hatfleet-hostkey.service")
    assert [finding.rule for finding in units.findings()] == [UNIT]
    assert units.findings(roles=("base",)) == []


def test_every_default_has_a_reason_and_is_there_once_a_package() -> None:
    for kind in ("units", "setuid", "listen"):
        seen = [(name, entry.package or entry.role) for entry in getattr(defaults(), kind) for name in entry.names]
        assert len(seen) == len(set(seen))
    assert ADMIN not in str(defaults())
