"""The role accelerator: locked versions, what is refused and why, and what it finds on a machine."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hatfleet.common.site import package_content
from hatfleet.compliance.marks import control_of
from hatfleet.ops import OperationError
from roles.accelerator import FILES, image, modules, operations, packages, refused
from roles.accelerator.operations import options_file, stack, status_file, usable_stack
from roles.accelerator.settings import FAMILIES, STACKS, Settings
from tests.fleet.damage_accelerator import DAMAGE
from tests.unit.target import LocalTarget, compared, declared

CONTROLS = {
    mark.id
    for name in ("checks", "checks_stack")
    for value in vars(importlib.import_module(f"roles.accelerator.{name}")).values()
    if (mark := control_of(value))
}


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def reason(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**values)
    return str(caught.value)


# --- settings


def test_nothing_is_asked_for_unless_a_recipe_says_so() -> None:
    assert Settings().kind == "detect"
    assert (packages(Settings()), modules(Settings())) == ([], [])


def test_an_unknown_kind_is_refused_with_the_kinds_there_are() -> None:
    assert "'hailo10h', 'hailo8', 'coral', 'none' or 'detect'" in reason(kind="hailo15")


@pytest.mark.parametrize("kind", STACKS)
def test_the_locked_versions_fit_together(kind: str) -> None:
    assert settings(kind=kind).kind == kind


@pytest.mark.parametrize(
    ("versions", "odd"),
    [
        ({"library": "5.2.0"}, "library is 5.2.0"),
        ({"bindings": "5.1.0-1"}, "bindings is 5.1.0"),
        ({"driver": "5.3.0", "library": "5.2.0"}, "driver is 5.3.0, library is 5.2.0, bindings is 5.1.1"),
    ],
)
def test_versions_that_differ_are_refused_and_the_odd_one_is_named(versions: dict[str, str], odd: str) -> None:
    said = reason(kind="hailo10h", versions=versions)
    assert f"refuses them: {odd} (all: driver" in said


def test_debian_revisions_may_differ() -> None:
    chosen = settings(kind="hailo10h", versions={"driver": "5.2.0-2", "library": "5.2.0", "bindings": "5.2.0-1"})
    assert packages(chosen) == ["h10-hailort=5.2.0", "python3-h10-hailort=5.2.0-1"]
    assert [driver.release for driver in modules(chosen)] == ["5.2.0"]


def test_versions_of_the_other_family_are_refused() -> None:
    versions = dict.fromkeys(("driver", "library", "bindings"), "4.23.0")
    assert "4.23.0 is of another family: versions for hailo10h are 5.x" in reason(kind="hailo10h", versions=versions)


@pytest.mark.parametrize("kind", ["none", "coral", "detect"])
def test_versions_without_a_stack_are_refused(kind: str) -> None:
    assert f"with kind {kind} there is none" in reason(kind=kind, versions={"driver": "5.1.1"})


@pytest.mark.parametrize("version", ["5.1", "v5.1.1", "5.1.1; reboot", ""])
def test_what_is_no_version_is_refused(version: str) -> None:
    assert "should match pattern" in reason(kind="hailo10h", versions={"driver": version})


def test_a_parameter_that_the_driver_does_not_have_yet_is_refused() -> None:
    options = {"force_hailo_pcie_boot_mode_over_bars": True}
    assert "needs a driver of 5.2.0 or later, not 5.1.1" in reason(kind="hailo10h", driver_options=options)
    later = dict.fromkeys(("driver", "library", "bindings"), "5.2.0")
    assert settings(kind="hailo10h", versions=later, driver_options=options)


@pytest.mark.parametrize("size", [0, 100, 8192, "4096k"])
def test_a_page_size_that_the_driver_refuses_is_refused(size: object) -> None:
    assert "force_desc_page_size" in reason(driver_options={"force_desc_page_size": size})


def test_every_setting_has_a_description_and_survives_the_way_to_the_worker() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    chosen = settings(kind="hailo8", driver_options={"support_soft_reset": True})
    assert Settings.model_validate_json(chosen.model_dump_json()) == chosen


# --- packages


def test_versions_are_asked_for_by_name_and_number_and_no_metapackage_is() -> None:
    assert packages(settings(kind="hailo10h")) == ["h10-hailort=5.1.1", "python3-h10-hailort=5.1.1-1"]
    assert packages(settings(kind="hailo8")) == ["hailort=4.23.0", "python3-hailort=4.23.0-1"]
    assert packages(settings(kind="coral")) == ["libedgetpu1-std"]


def test_the_driver_is_compiled_and_not_installed_like_the_others() -> None:
    (driver,) = modules(settings(kind="hailo10h"))
    assert (driver.exact, driver.name, driver.modules) == (
        "h10-hailort-pcie-driver=5.1.1",
        "hailo1x_pci",
        ("hailo1x_pci",),
    )
    assert driver.kernel_limit is None


def test_a_driver_that_is_known_not_to_build_says_from_which_kernel_on() -> None:
    versions = dict.fromkeys(("driver", "library", "bindings"), "5.3.0")
    (driver,) = modules(settings(kind="hailo10h", versions=versions))
    assert driver.kernel_limit == (6, 15)
    assert "del_timer_sync" in driver.limit_reason


def test_an_image_takes_neither_the_other_family_nor_a_metapackage() -> None:
    found = refused(settings(kind="hailo10h"))
    assert "cannot be installed together" in found["hailo-all"]
    assert "lets apt choose" in found["hailo-h10-all"]
    assert "h10-hailort" not in found
    assert set(refused(settings(kind="none"))) >= {name for names in FAMILIES.values() for name in names}


# --- on a running device


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


class Machine:
    """A machine with a sysfs, a dpkg database, a kernel and an archive of a test's own; dpkg-query is real."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.programs = folder, folder / "bin"
        self.programs.mkdir()
        (folder / "dpkg" / "info").mkdir(parents=True)
        (folder / "sys").mkdir()
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin")
        monkeypatch.setenv("DPKG_ADMINDIR", str(folder / "dpkg"))
        monkeypatch.setattr(operations, "FIND", operations.FIND.replace("/sys/", f"{folder / 'sys'}/"))
        self.installed({})
        self.offered({})
        self.kernel("6.12.75+rpt-rpi-2712")

    def device(self, bus: str, address: str, **values: str) -> None:
        device = self.folder / "sys" / "bus" / bus / "devices" / address
        device.mkdir(parents=True)
        for name, value in values.items():
            (device / name).write_text(f"{value}\n")

    def hailo(self, device: str = "0x45c4", address: str = "0001:01:00.0") -> None:
        self.device("pci", address, vendor="0x1e60", device=device)

    def installed(self, versions: dict[str, str], *, selection: str = "install") -> None:
        entry = "Package: {}\nStatus: {} ok installed\nVersion: {}\nArchitecture: arm64\nMaintainer: t\n"
        entry += "Description: t\n\n"
        text = "".join(entry.format(name, selection, version) for name, version in versions.items())
        (self.folder / "dpkg" / "status").write_text(text)

    def offered(self, versions: dict[str, str]) -> None:
        lines = "".join(f"{name} | {version} | archive\n" for name, version in versions.items())
        self._program("apt-cache", f"cat <<'EOF'\n{lines}EOF\n")

    def kernel(self, release: str) -> None:
        self._program("uname", f"echo {release}\n")

    def _program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}")
        (self.programs / name).chmod(0o755)


TUPLE_10H = {"h10-hailort-pcie-driver": "5.1.1", "h10-hailort": "5.1.1", "python3-h10-hailort": "5.1.1-1"}


def usable(kind: str = "hailo10h", **values: Any) -> None:
    chosen = settings(kind=kind, **values)
    usable_stack(
        kind=kind,
        families=FAMILIES,
        wanted={name: chosen.packages_of(name) for name in STACKS},
        unfit={name: [(*one.kernel, one.reason) for one in chosen.unfit(name)] for name in STACKS},
    )


def installing(kind: str = "hailo10h") -> Sequence[str]:
    """Return the commands that would install and hold packages."""
    wanted = {name: settings().packages_of(name) for name in STACKS}
    (operation,) = compared(lambda: stack(kind=kind, wanted=wanted))
    return [action.script for action in operation.actions]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("bus", "values", "kind"),
    [
        ("pci", {"vendor": "0x1e60", "device": "0x45c4"}, "hailo10h"),
        ("pci", {"vendor": "0x1e60", "device": "0x2864"}, "hailo8"),
        ("pci", {"vendor": "0x1ac1", "device": "0x089a"}, "coral"),
        ("usb", {"idVendor": "1a6e", "idProduct": "089a"}, "coral"),
        ("usb", {"idVendor": "18d1", "idProduct": "9302"}, "coral"),
        ("pci", {"vendor": "0x14e4", "device": "0x2712"}, "none"),
    ],
)
def test_an_accelerator_is_known_by_its_ids_at_any_address(
    machine: Machine, bus: str, values: dict[str, str], kind: str
) -> None:
    machine.device(bus, "0042:01:00.0" if bus == "pci" else "3-1", **values)
    (operation,) = compared(lambda: status_file(kind="detect", path="/nonexistent/status", values={}))
    assert f'"kind": "{kind}"' in operation.notes[0].diff


def test_without_sysfs_entries_there_is_none(machine: Machine) -> None:
    (operation,) = compared(lambda: status_file(kind="detect", path="/nonexistent/status", values={}))
    assert '"kind": "none"' in operation.notes[0].diff


def test_two_kinds_are_not_chosen_between(machine: Machine) -> None:
    machine.hailo()
    machine.device("usb", "1-1", idVendor="1a6e", idProduct="089a")
    with pytest.raises(OperationError, match=r"several accelerators \(coral, hailo10h\): set accelerator.kind"):
        compared(lambda: usable("detect"))


def test_in_an_image_nothing_is_found(machine: Machine) -> None:
    machine.hailo()
    target = LocalTarget(live=False)
    (operation,) = compared(lambda: status_file(kind="detect", path="/nonexistent/status", values={}), target)
    assert '"kind": "none"' in operation.notes[0].diff


def test_a_fresh_device_gets_headers_before_the_driver_and_everything_is_held(machine: Machine) -> None:
    install, hold = installing()
    assert install.index("install dkms linux-headers-$(uname -r)") < install.index("h10-hailort-pcie-driver=5.1.1")
    assert "hailo-h10-all" not in install
    assert "h10-hailort-pcie-driver h10-hailort python3-h10-hailort | dpkg --set-selections" in hold


def test_what_is_installed_and_held_stays_as_it_is(machine: Machine) -> None:
    machine.installed(TUPLE_10H, selection="hold")
    compared(usable)
    assert installing() == []


def test_a_part_of_another_version_is_replaced(machine: Machine) -> None:
    machine.installed({**TUPLE_10H, "h10-hailort": "5.2.0"}, selection="hold")
    (install,) = installing()
    assert "--allow-downgrades --allow-change-held-packages install h10-hailort=5.1.1" in install


def test_the_other_family_stops_the_run_before_anything_is_changed(machine: Machine) -> None:
    machine.installed({"hailo-all": "5.0.0", "hailort": "4.23.0"})
    with pytest.raises(OperationError, match=r"installed: hailo-all, hailort\. They and those of hailo10h"):
        compared(usable)
    machine.installed({})
    compared(usable)


def test_the_other_family_is_found_for_a_chip_that_was_detected_too(machine: Machine) -> None:
    machine.hailo("0x2864")
    machine.installed(TUPLE_10H)
    with pytest.raises(OperationError, match=r"h10-hailort.* and those of hailo8 cannot"):
        compared(lambda: usable("detect"))


def test_a_version_that_the_archive_does_not_have_stops_the_run_and_is_named(machine: Machine) -> None:
    machine.offered({**TUPLE_10H, "h10-hailort": "5.2.0"})
    with pytest.raises(OperationError, match=r"h10-hailort 5\.1\.1 is declared, but the archive has 5\.2\.0"):
        compared(usable)
    machine.installed(TUPLE_10H)
    compared(usable)


def test_a_driver_that_does_not_build_for_the_kernel_stops_the_run(machine: Machine) -> None:
    versions = dict.fromkeys(("driver", "library", "bindings"), "5.3.0")
    compared(lambda: usable(versions=versions))
    machine.kernel("6.18.34+rpt-rpi-2712")
    with pytest.raises(OperationError, match=r"kernel 6\.18\.34\+rpt-rpi-2712: it calls del_timer_sync"):
        compared(lambda: usable(versions=versions))


def test_the_parameters_are_those_of_the_module_that_the_chip_needs(machine: Machine) -> None:
    machine.hailo("0x2864")
    lines = {"hailo8": "options hailo_pci force_desc_page_size=4096\n", "hailo10h": "options hailo1x_pci o_dbg=1\n"}
    (operation,) = compared(lambda: options_file(kind="detect", path="/nonexistent/options", lines=lines))
    assert "+options hailo_pci force_desc_page_size=4096" in operation.notes[0].diff
    assert "hailo1x_pci" not in operation.notes[0].diff


def test_a_switch_is_written_as_the_kernel_reads_it() -> None:
    chosen = settings(kind="hailo10h", driver_options={"no_power_mode": True, "support_soft_reset": False})
    (found,) = (one for one in declared(lambda: image(chosen)) if one.kind == "options_file")
    assert found.arguments["lines"]["hailo10h"] == "options hailo1x_pci no_power_mode=Y support_soft_reset=N\n"


def test_only_a_device_that_is_declared_to_have_none_loses_packages() -> None:
    def purged(kind: str) -> list[str]:
        kinds = [one for one in declared(lambda: image(settings(kind=kind))) if one.kind == "packages_absent"]
        return [name for one in kinds for name in one.arguments["names"]]

    assert "h10-hailort" in purged("none")
    assert purged("detect") == purged("hailo10h") == []


# --- files


def test_no_node_is_open_to_everybody() -> None:
    rules = (FILES / "90-hatfleet-accelerator.rules").read_text()
    lines = [line for line in rules.splitlines() if line and not line.startswith("#")]
    assert all('GROUP:="hailo", MODE:="0660"' in line for line in lines)
    assert {word for line in lines for word in re.findall(r'SUBSYSTEM=="(\w+)"', line)} == {
        "apex",
        "hailo1x",
        "hailo_chardev",
        "usb",
    }


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_recovery_is_sandboxed() -> None:
    unit = FILES / "hatfleet-accelerator.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
    # It resets the chip through sysfs.
    assert "ProtectKernelTunables=yes" not in unit.read_text()


def test_what_the_device_is_told_is_json_with_the_keys_that_hatserve_knows() -> None:
    chosen = settings(kind="hailo10h", link_speed_gts=8, probe_attempts=3)
    (found,) = (one for one in declared(lambda: image(chosen)) if one.kind == "status_file")
    assert json.loads(json.dumps(found.arguments["values"])) == {
        "link_speed_gts": 8.0,
        "link_width": 1,
        "max_reboots_per_day": 2,
        "probe_attempts": 3,
    }


def test_each_damage_names_controls_of_this_role() -> None:
    assert len(DAMAGE) >= 8
    assert {control for damage in DAMAGE for control in damage.controls} <= CONTROLS


def test_the_reference_lists_every_control_and_setting() -> None:
    text = (package_content() / "docs" / "reference" / "accelerator.md").read_text()
    assert [word for word in (*CONTROLS, *Settings.model_fields) if word not in text] == []
