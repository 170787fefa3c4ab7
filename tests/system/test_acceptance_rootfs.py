"""A root file system is judged without booting it: the gate, and the checks that run inside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hatfleet.acceptance.offline import judge_root
from hatfleet.acceptance.report import Offline
from hatfleet.common.site import Site
from hatfleet.compliance.results import HostOutcome, Outcome
from hatfleet.fleet.job import RoleRun
from hatfleet.image.gate import recipe_facts
from tests.unit.compliance_site import write_role

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a root file system is entered as root")

CHECKS = """
    @control("T-IN-001", "The message is the image's own")
    def test_message(host, settings):
        found = host.check_output("cat /etc/motd")
        assert found == settings.wanted, f"/etc/motd says {found!r}, wanted {settings.wanted!r}"

    @control("T-IN-002", "The builder's files cannot be seen")
    def test_walls(host):
        assert host.run("test -e /usr/bin/python3").rc == 1, "python3 of the builder is there"

    @control("T-IN-003", "The kernel is a good one", needs="boot")
    def test_kernel(host):
        raise RuntimeError("this must not run on a root file system")
"""

PROGRAMS = ("sh", "cat", "env", "mkdir", "readlink", "test", "stat")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system of a few programs of this machine."""
    folder = tmp_path / "root"
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "usr/sbin", "usr/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "bin").symlink_to("usr/bin")
    for program in PROGRAMS:
        source = Path(str(shutil.which(program)))
        shutil.copy(source, folder / "usr/bin" / program)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout
        for library in (word for word in listed.split() if word.startswith("/")):
            target = folder / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    (folder / "etc/shadow").write_text("root:*:20000::::::\n")
    (folder / "etc/motd").write_text("welcome")
    return folder


def judged(root: Path, site: Path, wanted: str) -> Offline:
    write_role(site, "inner", CHECKS)
    roles = (RoleRun(name="inner", settings={"wanted": wanted}),)
    return judge_root(root, name="probe", site=Site(site), roles=roles, facts=recipe_facts(roles))


def test_a_good_root_file_system_passes_and_what_needs_a_boot_is_listed(root: Path, tmp_path: Path) -> None:
    found = judged(root, tmp_path / "site", "welcome")
    assert found.gate.findings == ()
    assert [(result.id, result.outcome, result.message) for result in found.checks.controls] == [
        ("T-IN-001", Outcome.PASSED, ""),
        ("T-IN-002", Outcome.PASSED, ""),
    ]
    assert found.checks.outcome is HostOutcome.PASSED and found.checks.planned == 2
    assert [control.id for control in found.at_boot] == ["T-IN-003"]
    assert found.passed


def test_a_control_that_fails_inside_is_a_refusal(root: Path, tmp_path: Path) -> None:
    found = judged(root, tmp_path / "site", "go away")
    assert found.gate.passed and not found.passed
    assert found.checks.controls[0].message == "/etc/motd says 'welcome', wanted 'go away'"


def test_a_finding_of_the_gate_is_a_refusal(root: Path, tmp_path: Path) -> None:
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    found = judged(root, tmp_path / "site", "welcome")
    assert found.checks.outcome is HostOutcome.PASSED and not found.passed
