"""What ``hatserve`` on a device answers, as far as it is judged here (docs/reference/accelerator-health.md)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    # A newer hatserve may say more.
    model_config = ConfigDict(extra="ignore", frozen=True)


class KindAnswer(_Answer):
    """Which kind of accelerator is wanted, and which are there."""

    expected: str
    found: tuple[str, ...]


class DeviceAnswer(_Answer):
    """Where the accelerator is."""

    bus: str
    address: str
    id: str


class DriverAnswer(_Answer):
    """The driver that is wanted, and the one that has the accelerator."""

    wanted: str
    bound: str | None


class NodeAnswer(_Answer):
    """A device node."""

    path: str
    mode: str
    group: str


class LinkAnswer(_Answer):
    """The PCIe link, in GT/s and lanes."""

    speed_gts: float | None
    width: int | None
    wanted_speed_gts: float
    wanted_width: int


class FirmwareAnswer(_Answer):
    """What the chip says of itself, and the files that its driver would miss."""

    version: str | None
    architecture: str | None
    missing: tuple[str, ...]


class VersionsAnswer(_Answer):
    """The versions that must be equal."""

    driver: str | None
    firmware: str | None
    library: str | None
    command_line: str | None
    bindings: str | None
    equal: bool | None
    odd: tuple[str, ...]


class TemperatureAnswer(_Answer):
    """Temperatures in degrees Celsius."""

    chip_c: float | None = None
    soc_c: float | None


class AcceleratorAnswer(_Answer):
    """``hatserve accelerator status --json``."""

    state: str
    reasons: tuple[str, ...]
    kind: KindAnswer
    device: DeviceAnswer | None
    driver: DriverAnswer | None
    nodes: tuple[NodeAnswer, ...] | None
    node_group: str | None
    """The group that the nodes must belong to; None: any."""
    link: LinkAnswer | None
    firmware: FirmwareAnswer | None
    versions: VersionsAnswer | None
    temperature: TemperatureAnswer
    unknown: dict[str, str]


class EepromAnswer(_Answer):
    """The boot loader."""

    version: str | None
    date: str | None


class ThrottledAnswer(_Answer):
    """What the firmware says about power and heat."""

    raw: str
    now: dict[str, bool | None]
    since_boot: dict[str, bool | None]

    def names(self) -> frozenset[str]:
        """Return the bits that are set."""
        now = {f"{name} now" for name, flag in self.now.items() if flag}
        return frozenset(now | {f"{name} since boot" for name, flag in self.since_boot.items() if flag})


class BoardAnswer(_Answer):
    """``hatserve board status --json``."""

    model: str | None
    hat: dict[str, str | None] | None
    eeprom: EepromAnswer | None
    eeprom_minimum: str | None
    throttled: ThrottledAnswer | None
    temperature: TemperatureAnswer
    unknown: dict[str, str]
