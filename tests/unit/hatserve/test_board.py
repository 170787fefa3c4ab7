"""The board's facts: read where they are, and unknown with a reason where they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hatserve.accelerator.config import load_config
from hatserve.board.status import as_data, read_board
from hatserve.board.throttle import BITS, decode
from hatserve.cli.main import main
from hatserve.system import System

from tests.unit.hatserve.machine_tree import Machine


def look(machine: Machine) -> dict[str, Any]:
    system = System(machine.root)
    return as_data(read_board(system, load_config(system)))


def test_a_board_in_order(machine: Machine) -> None:
    machine.board()
    data = look(machine)
    assert (data["state"], data["reasons"], data["unknown"]) == ("ok", [], {})
    assert data["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert data["hat"]["product"] == "a product"
    assert data["hat"]["product_id"] is None
    assert data["eeprom"] == {"version": "26826259", "built": "2025-01-22T00:16:46+00:00", "date": "2025-01-22"}
    assert data["pcie"] == {"eeprom_settings": {"PCIE_PROBE": "1"}, "config_lines": ["dtparam=pciex1_gen=3"]}
    assert data["throttled"]["source"] == "vcgencmd"
    assert data["temperature"] == {"soc_c": 48.3}
    assert data["cpu"] == [
        {"policy": "policy0", "frequency_mhz": 2400.0, "maximum_mhz": 2400.0, "governor": "performance"}
    ]


def test_what_is_not_there_is_unknown_with_a_reason_and_not_invented(machine: Machine) -> None:
    data = look(machine)
    for name in ("model", "hat", "eeprom", "throttled"):
        assert data[name] is None
    assert data["temperature"]["soc_c"] is None
    assert data["cpu"] == []
    assert data["unknown"].keys() == {
        "model",
        "hat",
        "eeprom",
        "pcie.eeprom_settings",
        "pcie.config_lines",
        "throttled",
        "temperature.soc_c",
        "cpu",
    }
    assert "vcgencmd is not installed" in data["unknown"]["throttled"]


@pytest.mark.parametrize(
    ("minimum", "state"), [("2025-01-22", "ok"), ("2025-01-23", "degraded"), (None, "ok"), ("2024-12-31", "ok")]
)
def test_the_boot_loader_is_compared_with_the_least_date(machine: Machine, minimum: str | None, state: str) -> None:
    machine.board()
    machine.configure(eeprom_min_date=minimum)
    data = look(machine)
    assert data["state"] == state
    if state == "degraded":
        assert data["reasons"] == ["the boot loader is of 2025-01-22, wanted 2025-01-23 or later"]


def test_a_boot_loader_without_a_date_is_not_new_enough(machine: Machine) -> None:
    machine.board()
    machine.configure(eeprom_min_date="2023-11-20")
    machine.write("/proc/device-tree/chosen/bootloader/build-timestamp", b"\0\0")
    assert "an unknown date" in look(machine)["reasons"][0]


@pytest.mark.parametrize("bit", range(4))
def test_every_bit_has_its_name(bit: int) -> None:
    now, since = decode("test", hex(1 << bit)), decode("test", hex(1 << bit + 16))
    assert [name for name in BITS if now.now[name]] == [BITS[bit]]
    assert not any(now.since_boot.values())
    assert [name for name in BITS if since.since_boot[name]] == [BITS[bit]]
    assert not any(since.now.values())


def test_throttling_is_told_in_words(machine: Machine) -> None:
    machine.board()
    machine.vcgencmd("0x50005")
    data = look(machine)
    assert data["reasons"] == [
        "the firmware reports: under voltage now, throttled now, under voltage since the start, "
        "throttled since the start (0x50005)"
    ]


def test_without_vcgencmd_the_kernels_file_is_read(machine: Machine) -> None:
    machine.board()
    (machine.bin / "vcgencmd").unlink()
    machine.write("/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "80008\n")
    throttled = look(machine)["throttled"]
    assert (throttled["source"], throttled["raw"]) == ("sysfs", "0x80008")
    assert throttled["now"]["soft_temperature_limit"] is True
    assert throttled["since_boot"]["soft_temperature_limit"] is True


def test_the_voltage_sensor_tells_one_bit_and_the_others_stay_unknown(machine: Machine) -> None:
    machine.write("/sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    machine.write("/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    machine.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    throttled = look(machine)["throttled"]
    assert throttled["source"] == "hwmon"
    assert throttled["now"] == {**dict.fromkeys(BITS), "under_voltage": True}
    assert set(throttled["since_boot"].values()) == {None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("force_eeprom_read=0", "keeps the firmware from finding the HAT+"),
        ("dtparam=pciex1=off  # saves power", "keeps the accelerator from its PCIe link"),
    ],
)
def test_settings_that_hide_the_hat_are_told(machine: Machine, line: str, reason: str) -> None:
    machine.board()
    machine.write("/boot/firmware/config.txt", f"[all]\n{line}\n")
    assert reason in look(machine)["reasons"][0]


def test_a_line_that_is_commented_out_does_not_count(machine: Machine) -> None:
    machine.board()
    machine.write("/boot/firmware/config.txt", "#force_eeprom_read=0\n")
    assert look(machine)["pcie"]["config_lines"] == []


def test_the_processors_own_zone_is_taken(machine: Machine) -> None:
    for number, (kind, value) in enumerate((("rp1", "71000"), ("cpu-thermal", "55000"))):
        machine.write(f"/sys/class/thermal/thermal_zone{number}/type", kind)
        machine.write(f"/sys/class/thermal/thermal_zone{number}/temp", value)
    assert look(machine)["temperature"]["soc_c"] == 55.0


def test_the_command_line(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.board()
    arguments = ["board", "status", "--root", str(machine.root)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "boot loader  2025-01-22 (26826259)" in shown
    assert "throttling   none, now or since the start" in shown
    machine.vcgencmd("0x1")
    assert main([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["throttled"]["now"]["under_voltage"] is True
