from __future__ import annotations

import importlib
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from hatfleet.common.site import package_content
from hatfleet.compliance.marks import control_of
from hatfleet.ops.base import render
from roles.governor.settings import Settings
from tests.fleet.damage_governor import DAMAGE

ROLE = package_content() / "roles" / "governor"
SCRIPT = ROLE / "files" / "hatfleet-governor.sh"

CONTROLS = {
    mark.id for value in vars(importlib.import_module("roles.governor.checks")).values() if (mark := control_of(value))
}


def unit_text(governor: str) -> str:
    return render(role_file=str(ROLE / "__init__.py"), template="hatfleet-governor.service.j2", governor=governor)


@pytest.fixture
def cpufreq(tmp_path: Path) -> Path:
    for number in (0, 4):
        policy = tmp_path / f"policy{number}"
        policy.mkdir()
        (policy / "scaling_governor").write_text("ondemand\n")
        (policy / "scaling_available_governors").write_text("ondemand performance\n")
    return tmp_path


def run(governor: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", SCRIPT, governor, folder], capture_output=True, text=True, check=False)


def governors(folder: Path) -> list[str]:
    return [path.read_text().strip() for path in sorted(folder.glob("policy*/scaling_governor"))]


def test_every_domain_gets_the_governor(cpufreq: Path) -> None:
    done = run("performance", cpufreq)
    assert (done.returncode, done.stderr) == (0, "")
    assert governors(cpufreq) == ["performance", "performance"]


def test_a_governor_that_the_kernel_does_not_take_is_an_error_and_the_other_domains_still_get_it(cpufreq: Path) -> None:
    refusing = cpufreq / "policy0" / "scaling_governor"
    refusing.unlink()
    refusing.symlink_to("/dev/null")  # takes every write and keeps nothing, as a kernel without that governor
    done = run("performance", cpufreq)
    assert done.returncode == 1
    assert "policy0 does not take performance; it offers: ondemand performance" in done.stderr
    assert (cpufreq / "policy4" / "scaling_governor").read_text() == "performance\n"


def test_a_machine_without_cpufreq_is_no_error(tmp_path: Path) -> None:
    assert run("performance", tmp_path).returncode == 0
    assert run("performance", tmp_path / "missing").returncode == 0


def test_performance_is_the_default() -> None:
    assert Settings().scaling_governor == "performance"


@pytest.mark.parametrize("value", ["fast", "", "Performance", 1, None])
def test_only_real_governors_can_be_set(value: object) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"scaling_governor": value})


def test_the_unit_sets_the_declared_governor_and_is_skipped_without_cpufreq() -> None:
    text = unit_text("schedutil")
    assert "ExecStart=/usr/lib/hatfleet/hatfleet-governor.sh schedutil\n" in text
    assert "ConditionPathExistsGlob=/sys/devices/system/cpu/cpufreq/policy*/scaling_governor\n" in text
    # /sys would be read-only for the script.
    assert "ProtectKernelTunables=" not in text.replace("# Without ProtectKernelTunables", "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_sandboxed(tmp_path: Path) -> None:
    (tmp_path / "hatfleet-governor.service").write_text(unit_text("performance"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", tmp_path / "hatfleet-governor.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


def test_each_damage_names_controls_of_this_role() -> None:
    assert len(DAMAGE) >= 6
    assert {control for damage in DAMAGE for control in damage.controls} <= CONTROLS


def test_the_reference_lists_every_control_and_setting() -> None:
    text = (package_content() / "docs" / "reference" / "governor.md").read_text()
    assert [word for word in (*CONTROLS, *Settings.model_fields) if word not in text] == []
