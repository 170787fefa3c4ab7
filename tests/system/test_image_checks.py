"""A root file system is checked without booting it: the roles' checks run inside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.common.site import Site
from hatfleet.compliance.results import HostOutcome, HostResult, Outcome
from hatfleet.fleet.job import RoleRun
from hatfleet.image.checks import check_root, not_good
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


def checked(root: Path, site: Path, wanted: str, checks: str | None = CHECKS) -> HostResult:
    write_role(site, "inner", checks)
    roles = (RoleRun(name="inner", settings={"wanted": wanted}),)
    return check_root(root, name="probe", site=Site(site), roles=roles, progress=lambda text: None)


def test_a_good_root_file_system_passes_and_what_needs_a_boot_is_left_out(root: Path, tmp_path: Path) -> None:
    found = checked(root, tmp_path / "site", "welcome")
    assert [(result.id, result.outcome, result.message) for result in found.controls] == [
        ("T-IN-001", Outcome.PASSED, ""),
        ("T-IN-002", Outcome.PASSED, ""),
    ]
    assert found.outcome is HostOutcome.PASSED and found.planned == 2
    assert not_good(found) == ()


def test_a_control_that_fails_inside_is_told_with_what_was_found(root: Path, tmp_path: Path) -> None:
    found = checked(root, tmp_path / "site", "go away")
    assert found.outcome is HostOutcome.FAILED
    (told,) = not_good(found)
    assert told.split("\n")[0] == "T-IN-001 inner: The message is the image's own"
    assert told.endswith("/etc/motd says 'welcome', wanted 'go away'")


def test_a_check_that_breaks_proves_nothing_and_is_told(root: Path, tmp_path: Path) -> None:
    found = checked(root, tmp_path / "site", "", CHECKS.replace("assert found ==", "assert found.nonsense =="))
    assert found.controls[0].outcome is Outcome.ERROR
    assert "nonsense" in not_good(found)[0]


def test_roles_without_controls_are_not_applicable(root: Path, tmp_path: Path) -> None:
    found = checked(root, tmp_path / "site", "", None)
    assert found.outcome is HostOutcome.NOT_APPLICABLE and found.unchecked_roles == ("inner",)


def test_a_root_file_system_in_which_nothing_runs_is_an_error_not_a_refusal(root: Path, tmp_path: Path) -> None:
    (root / "usr/bin/sh").unlink()
    with pytest.raises(HatfleetError):
        checked(root, tmp_path / "site", "welcome")
