"""Damage a booted device in what each role guarantees, see its controls fail, let apply repair it, see them pass."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from tests.fleet import damage_accelerator, damage_base, damage_governor, damage_harden, damage_runtimes
from tests.fleet.damage import Damage

pytestmark = pytest.mark.fleet

#: In the order in which they are done: harden's leave the boot partition writable, the others' make it read-only again.
DAMAGES = {
    "governor": damage_governor.DAMAGE,
    "accelerator": damage_accelerator.DAMAGE,
    "runtimes": damage_runtimes.DAMAGE,
    "base": damage_base.DAMAGE,
    "harden": damage_harden.DAMAGE,
}


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {control["id"]: control["outcome"] for host in report["hosts"] for control in host["controls"]}


def not_good(report: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in outcomes(report).items() if value not in ("passed", "not-applicable")}


@pytest.fixture(scope="module")
def good(applied: tuple[str, ...], run_json: Callable[..., Any]) -> dict[str, Any]:
    """What the controls say of a device before it is damaged."""
    report: dict[str, Any] = run_json("check", "-i", "lab", "-l", applied[1])
    return report


def test_controls_of_a_good_device_are_judged_by_nothing_else(good: dict[str, Any]) -> None:
    found = outcomes(good)
    assert len(found) >= 50
    assert not_good(good) == {}
    # No cpufreq, no USB, no accelerator; processes are not hidden, and the kernel may write to the console, both as
    # declared.
    not_applicable = {key for key, value in found.items() if value == "not-applicable"}
    chip = {f"HF-ACC-{number:03}" for number in (11, 12, 14, 15, 20, 21, 22)}
    assert not_applicable == {"HF-GOV-001", "HF-HARDEN-017", "HF-HARDEN-024", "HF-HARDEN-044", *chip}


def test_damage_is_found_named_and_repaired(
    applied: tuple[str, ...], good: dict[str, Any], run_json: Callable[..., Any], on_device: Callable[..., str]
) -> None:
    """Everything at once: a check costs the better part of a minute on an emulated device."""
    device = applied[1]
    damages = sorted((damage for role in DAMAGES.values() for damage in role), key=lambda damage: damage.last)
    target = ("-i", "lab", "-l", device)
    assert not_good(good) == {}, "the device must be good before it is damaged"

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


def test_each_damage_names_controls_that_exist(run_json: Callable[..., Any]) -> None:
    known = {control["id"] for control in run_json("check", "--list")["controls"]}

    def unknown(damages: tuple[Damage, ...]) -> set[str]:
        return {control for damage in damages for control in damage.controls} - known

    assert {role: unknown(damages) for role, damages in DAMAGES.items()} == {role: set() for role in DAMAGES}
    assert min(len(damages) for damages in DAMAGES.values()) >= 5
