"""The board's facts together, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hatserve.accelerator.config import Config
from hatserve.board.firmware import Eeprom, read_eeprom, read_eeprom_settings, read_pcie_lines
from hatserve.board.throttle import Throttle, read_throttle
from hatserve.system import System, read_number, read_text
from hatserve.temperature import soc_temperature

#: What the firmware copies from the memory of a HAT into the device tree (Raspberry Pi HAT+ specification).
HAT_KEYS = ("vendor", "product", "product_id", "product_ver", "uuid")


@dataclass(frozen=True)
class Cpu:
    """A frequency domain of the CPU."""

    policy: str
    frequency_mhz: float | None
    maximum_mhz: float | None
    governor: str | None


@dataclass(frozen=True)
class Board:
    """What was found out about the board; None and a line in ``unknown`` where nothing was."""

    model: str | None
    hat: dict[str, str | None] | None
    eeprom: Eeprom | None
    eeprom_minimum: str | None
    eeprom_settings: dict[str, str] | None
    config_lines: list[str] | None
    throttle: Throttle | None
    soc_c: float | None
    cpu: tuple[Cpu, ...]
    unknown: dict[str, str]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, a sentence each."""
        return tuple(_wrong(self))

    @property
    def ok(self) -> bool:
        """Whether nothing that is known is wrong."""
        return not self.reasons


def _wrong(board: Board) -> Iterator[str]:
    if board.eeprom_minimum and board.eeprom and (board.eeprom.date or "") < board.eeprom_minimum:
        yield f"the boot loader is of {board.eeprom.date or 'an unknown date'}, wanted {board.eeprom_minimum} or later"
    for line in board.config_lines or ():
        if line == "force_eeprom_read=0":
            yield "force_eeprom_read=0 in config.txt keeps the firmware from finding the HAT+"
        if line in ("dtparam=pciex1=off", "dtparam=pciex1_gen=1"):
            yield f"{line} in config.txt keeps the accelerator from its PCIe link"
    if board.throttle and board.throttle.names():
        yield f"the firmware reports: {', '.join(board.throttle.names())} ({board.throttle.raw})"


def read_board(system: System, config: Config) -> Board:
    """Look at the board."""
    model = system.text("/proc/device-tree/model")
    hat = _hat(system)
    eeprom, no_eeprom = read_eeprom(system)
    settings, no_settings = read_eeprom_settings()
    lines, no_lines = read_pcie_lines(system)
    throttle, no_throttle = read_throttle(system)
    soc_c, no_soc = soc_temperature(system)
    cpu = tuple(_cpu(system))
    why = {
        "model": None if model else "there is no device tree",
        "hat": None if hat else "the device tree names no HAT",
        "eeprom": no_eeprom,
        "pcie.eeprom_settings": no_settings,
        "pcie.config_lines": no_lines,
        "throttled": no_throttle,
        "temperature.soc_c": no_soc,
        "cpu": None if cpu else "the CPU's frequency cannot be read",
    }
    return Board(
        model=model,
        hat=hat,
        eeprom=eeprom,
        eeprom_minimum=config.eeprom_min_date,
        eeprom_settings=settings,
        config_lines=lines,
        throttle=throttle,
        soc_c=soc_c,
        cpu=cpu,
        unknown={name: text for name, text in why.items() if text},
    )


def _hat(system: System) -> dict[str, str | None] | None:
    found = {key: system.text(f"/proc/device-tree/hat/{key}") for key in HAT_KEYS}
    return found if any(found.values()) else None


def _cpu(system: System) -> Iterator[Cpu]:
    for folder in system.entries("/sys/devices/system/cpu/cpufreq"):
        if not folder.name.startswith("policy"):
            continue
        current, maximum = (read_number(folder / name) for name in ("scaling_cur_freq", "scaling_max_freq"))
        # sysfs has them in kHz.
        yield Cpu(
            policy=folder.name,
            frequency_mhz=None if current is None else current / 1000,
            maximum_mhz=None if maximum is None else maximum / 1000,
            governor=read_text(folder / "scaling_governor"),
        )


def as_data(board: Board) -> dict[str, Any]:
    """Return the board as plain data, as ``--json`` prints it; see docs/reference/accelerator-health.md."""
    eeprom = {**asdict(board.eeprom), "date": board.eeprom.date} if board.eeprom else None
    return {
        "state": "ok" if board.ok else "degraded",
        "reasons": list(board.reasons),
        "model": board.model,
        "hat": board.hat,
        "eeprom": eeprom,
        "eeprom_minimum": board.eeprom_minimum,
        "pcie": {"eeprom_settings": board.eeprom_settings, "config_lines": board.config_lines},
        "throttled": asdict(board.throttle) if board.throttle else None,
        "temperature": {"soc_c": board.soc_c},
        "cpu": [asdict(cpu) for cpu in board.cpu],
        "unknown": board.unknown,
    }
