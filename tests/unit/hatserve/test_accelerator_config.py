"""The configuration of the accelerator: every wrong value is named, with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from hatserve.accelerator.config import Config, load_config
from hatserve.cli.main import main
from hatserve.errors import ConfigError
from hatserve.system import System

from tests.unit.hatserve.machine_tree import Machine

FILE = "/etc/hatserve/accelerator.json"


def test_without_a_file_every_default_holds(machine: Machine) -> None:
    assert load_config(System(machine.root)) == Config()


def test_given_values_replace_the_defaults(machine: Machine) -> None:
    machine.write(FILE, '{"kind": "hailo10h", "link_speed_gts": 8.0, "link_width": 1, "eeprom_min_date": "2025-05-08"}')
    assert load_config(System(machine.root)) == Config(
        kind="hailo10h", link_speed_gts=8.0, link_width=1, eeprom_min_date="2025-05-08"
    )


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("kind", '"hailo9"', "one of hailo10h, hailo8, coral, none"),
        ("kind", "8", "one of hailo10h"),
        ("link_speed_gts", '"8.0"', "a number from 2.5 to 64"),
        ("link_width", "1.5", "a whole number from 1 to 16"),
        ("link_width", "true", "a whole number"),
        ("node_group", '"no group"', "the name of a group"),
        ("probe_attempts", "0", "from 1 to 100"),
        ("max_reboots_per_day", "-1", "from 0 to 24"),
        ("max_reboots_per_day", "null", "from 0 to 24"),
        ("identify_timeout_s", "NaN", "a number"),
        ("eeprom_min_date", '"2025-13-01"', "a date as YYYY-MM-DD"),
        ("eeprom_min_date", '"20250101"', "a date as YYYY-MM-DD"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(machine: Machine, key: str, value: str, allowed: str) -> None:
    machine.write(FILE, f'{{"{key}": {value}}}')
    with pytest.raises(ConfigError) as raised:
        load_config(System(machine.root))
    assert f"{key}: found {value}, wanted" in str(raised.value)
    assert allowed in str(raised.value)


def test_an_unknown_key_is_named_with_the_nearest(machine: Machine) -> None:
    machine.write(FILE, '{"max_reboot_per_day": 2}')
    with pytest.raises(ConfigError, match="unknown key 'max_reboot_per_day'") as raised:
        load_config(System(machine.root))
    assert raised.value.hint == "did you mean 'max_reboots_per_day'?"


@pytest.mark.parametrize("content", ["", "[]", "{", b"\xff"])
def test_a_file_that_is_no_object_is_refused(machine: Machine, content: Any) -> None:
    machine.write(FILE, content)
    with pytest.raises(ConfigError):
        load_config(System(machine.root))


def test_a_wrong_configuration_ends_with_exit_code_2(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.write(FILE, '{"kind": "hailo9"}')
    assert main(["accelerator", "status", "--root", str(machine.root)]) == 2
    assert "hailo10h, hailo8, coral, none" in capsys.readouterr().err
