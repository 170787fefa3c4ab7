"""What was found out about the accelerator: data for programs and people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from hatserve.accelerator.bus import Device
from hatserve.accelerator.config import Config
from hatserve.accelerator.identify import Answer, Identity
from hatserve.accelerator.kinds import Kind
from hatserve.accelerator.nodes import Holder, Node
from hatserve.accelerator.versions import Versions


class State(StrEnum):
    """How the accelerator is."""

    OK = "ok"
    ABSENT = "absent"
    """It is wanted and not there."""
    DEGRADED = "degraded"
    """It is there, and something is not as it must be."""
    WEDGED = "wedged"
    """It is there and does not answer: see ``hatserve accelerator recover``."""


@dataclass(frozen=True)
class Look:
    """One look at an accelerator that is there."""

    device: Device
    module_loaded: bool
    nodes: tuple[Node, ...]
    identity: Identity
    versions: Versions
    missing_firmware: tuple[str, ...]
    holders: tuple[Holder, ...]
    kernel_says: str | None
    """The kernel's last message about a driver that did not take the device."""
    chip_c: float | None
    unknown: dict[str, str]

    @property
    def bound(self) -> bool:
        """Whether a driver has the device."""
        return self.device.driver is not None

    @property
    def kind(self) -> Kind:
        """What kind it is."""
        return self.device.kind

    @property
    def strangers(self) -> tuple[Holder, ...]:
        """Processes that hold the chip and are not our inference service."""
        return tuple(holder for holder in self.holders if not holder.own)


@dataclass(frozen=True)
class Status:
    """The accelerator's health."""

    state: State
    reasons: tuple[str, ...]
    """Why the state is what it is, a sentence each."""
    config: Config
    expected: str
    """The kind that is wanted."""
    found: tuple[str, ...]
    """The kinds that are there."""
    look: Look | None
    """None when nothing that is wanted is there."""
    soc_c: float | None
    attempts: int
    """How many looks it took."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Why a value is null, by its path in the JSON."""

    @property
    def may_be_starting(self) -> bool:
        """Whether another look a little later may find it well: its firmware may still be loading."""
        if self.state is not State.WEDGED or self.look is None or not self.look.bound:
            return False
        return not self.look.nodes or self.look.identity.answer in (Answer.SILENT, Answer.CLOSED)


def as_data(status: Status) -> dict[str, Any]:
    """Return a status as plain data, as ``--json`` prints it; see docs/reference/accelerator-health.md."""
    look = status.look
    return {
        "state": status.state.value,
        "reasons": list(status.reasons),
        "kind": {
            "expected": status.expected,
            "configured": status.config.kind is not None,
            "found": list(status.found),
        },
        "present": look is not None,
        "node_group": status.config.node_group,
        "attempts": status.attempts,
        **(_look_data(look, status.config) if look else dict.fromkeys(_LOOK_KEYS)),
        "temperature": {"chip_c": look.chip_c if look else None, "soc_c": status.soc_c},
        "unknown": {**status.unknown, **(look.unknown if look else {})},
    }


_LOOK_KEYS = ("device", "driver", "nodes", "link", "firmware", "versions", "holders")


def _look_data(look: Look, config: Config) -> dict[str, Any]:
    speed, width = wanted_link(look.kind, config)
    return {
        "device": {"bus": look.device.bus, "address": look.device.address, "id": look.device.id},
        "driver": {"wanted": look.kind.module, "loaded": look.module_loaded, "bound": look.device.driver},
        "nodes": [asdict(node) for node in look.nodes],
        "link": {
            "speed_gts": look.device.link_speed_gts,
            "width": look.device.link_width,
            "wanted_speed_gts": speed,
            "wanted_width": width,
        }
        if look.device.bus == "pci"
        else None,
        "firmware": {
            "version": look.identity.firmware,
            "architecture": look.identity.architecture,
            "missing": list(look.missing_firmware),
        },
        "versions": {**asdict(look.versions), "equal": look.versions.equal, "odd": list(look.versions.odd)},
        "holders": [asdict(holder) for holder in look.holders],
    }


def wanted_link(kind: Kind, config: Config) -> tuple[float, int]:
    """Return the PCIe speed in GT/s and the number of lanes that are wanted."""
    return (
        kind.link_speed_gts if config.link_speed_gts is None else config.link_speed_gts,
        kind.link_width if config.link_width is None else config.link_width,
    )
