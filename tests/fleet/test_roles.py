"""For each role: damage the booted device, see the controls fail, let apply repair it, see them pass."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Provision
from tests.fleet import damage_base, damage_governor, damage_harden
from tests.fleet.damage import Damage

pytestmark = pytest.mark.fleet

DAMAGES = {"base": damage_base.DAMAGE, "harden": damage_harden.DAMAGE, "governor": damage_governor.DAMAGE}

#: Roles are damaged on different devices, so that one run of pytest can tell their effects apart.
DEVICE = {"base": "edge-01", "harden": "edge-02", "governor": "edge-01"}


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {control["id"]: control["outcome"] for host in report["hosts"] for control in host["controls"]}


def not_good(report: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in outcomes(report).items() if value not in ("passed", "not-applicable")}


@pytest.mark.parametrize("role", DAMAGES)
def test_damage_is_found_named_and_repaired(
    role: str,
    applied: tuple[str, ...],
    provision: Provision,
    run_json: Callable[..., Any],
    on_device: Callable[..., str],
) -> None:
    device, damages = DEVICE[role], DAMAGES[role]
    assert device in applied
    assert len(damages) >= 5
    target = ("-i", "lab", "-l", device, "-r", role)
    assert not_good(run_json("check", *target)) == {}, "the device must be good before it is damaged"

    # In one session: one of them makes the SSH server read its configuration again, and it refuses others meanwhile.
    broken = (f"( {damage.command} ) || {{ echo {shlex.quote(damage.name)}; exit 1; }}" for damage in damages)
    on_device(device, "\n".join(broken))
    damaged = not_good(run_json("check", *target, expect=5))
    missed = {damage.name: damage.controls for damage in damages if not set(damage.controls) <= set(damaged)}
    assert missed == {}, f"damages that no control found; found were {sorted(damaged)}"

    report = run_json("apply", *target)
    assert report["hosts"][0]["state"] == "changed"
    assert not_good(run_json("check", *target)) == {}
    assert run_json("apply", *target)["hosts"][0]["state"] == "ok"


def test_controls_of_a_good_device_are_judged_by_nothing_else(
    applied: tuple[str, ...], run_json: Callable[..., Any]
) -> None:
    report = run_json("check", "-i", "lab", "-l", applied[1])
    found = outcomes(report)
    assert len(found) >= 50
    # No cpufreq, no USB; processes are not hidden, and the kernel may write to the console, both as declared.
    not_applicable = {key for key, value in found.items() if value == "not-applicable"}
    assert not_applicable == {"HF-GOV-001", "HF-HARDEN-017", "HF-HARDEN-024", "HF-HARDEN-044"}


def test_each_damage_names_controls_that_exist(run_json: Callable[..., Any]) -> None:
    known = {control["id"] for control in run_json("check", "--list")["controls"]}

    def unknown(damages: tuple[Damage, ...]) -> set[str]:
        return {control for damage in damages for control in damage.controls} - known

    assert {role: unknown(damages) for role, damages in DAMAGES.items()} == {role: set() for role in DAMAGES}
