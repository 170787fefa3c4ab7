"""The points that only hardware can prove, and how each is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hatfleet.acceptance.hardware.answers import AcceleratorAnswer, BoardAnswer
from hatfleet.acceptance.hardware.evidence import Evidence
from hatfleet.compliance.results import Outcome

#: The first boot loader that finds a HAT+ on PCIe (rpi-eeprom, release of 2023-11-20).
FIRST_HAT_PLUS = "2023-11-20"

#: Where a Raspberry Pi 5 begins to slow down, degrees Celsius (Raspberry Pi documentation, frequency management).
SOC_LIMIT_C = 80.0

#: What no chip that works is outside of, degrees Celsius.
CHIP_RANGE_C = (0.0, 105.0)


@dataclass(frozen=True)
class Verdict:
    """How a point ended on a device, and what was seen."""

    outcome: Outcome
    seen: str


@dataclass(frozen=True)
class Point:
    """Something that was not proved without hardware."""

    id: str
    title: str
    judge: Callable[[AcceleratorAnswer, BoardAnswer, Evidence], Verdict]
    accelerator: bool
    """Whether it is about the accelerator, and does not apply where none is wanted."""


@dataclass(frozen=True)
class PointResult:
    """A point as it ended."""

    id: str
    title: str
    outcome: Outcome
    seen: str


#: All points, in the order of the report.
POINTS: list[Point] = []

_Judge = Callable[[AcceleratorAnswer, BoardAnswer, Evidence], Verdict]


def judge(evidence: Evidence) -> tuple[PointResult, ...]:
    """Judge every point; on what is no Raspberry Pi none is ever passed."""
    results = []
    for point in POINTS:
        verdict = _judge(point, evidence)
        results.append(PointResult(point.id, point.title, verdict.outcome, verdict.seen))
    return tuple(results)


def _judge(point: Point, evidence: Evidence) -> Verdict:
    accelerator, board = evidence.accelerator, evidence.board
    if accelerator is None or board is None:
        return _failed(f"the device could not be asked: {evidence.problem}")
    if not evidence.is_board:
        return _not_applicable(f"this is no Raspberry Pi but {board.model or 'a device that does not say what it is'}")
    if point.accelerator and accelerator.kind.expected == "none":
        return _not_applicable("no accelerator is wanted on this device")
    return point.judge(accelerator, board, evidence)


def _passed(seen: str) -> Verdict:
    return Verdict(Outcome.PASSED, seen)


def _failed(seen: str) -> Verdict:
    return Verdict(Outcome.FAILED, seen)


def _not_applicable(seen: str) -> Verdict:
    return Verdict(Outcome.NOT_APPLICABLE, seen)


def _point(number: str, title: str, *, accelerator: bool = True) -> Callable[[_Judge], _Judge]:
    def add(judged: _Judge) -> _Judge:
        POINTS.append(Point(number, title, judged, accelerator))
        return judged

    return add


def _is_hailo(answer: AcceleratorAnswer) -> bool:
    return answer.kind.expected.startswith("hailo")


@_point("HW-01", "The board is a Raspberry Pi 5", accelerator=False)
def _model(_accelerator: AcceleratorAnswer, board: BoardAnswer, _evidence: Evidence) -> Verdict:
    seen = board.model or ""
    fits = seen.startswith(("Raspberry Pi 5", "Raspberry Pi Compute Module 5"))
    return _passed(seen) if fits else _failed(f"{seen}, wanted a Raspberry Pi 5")


@_point("HW-02", "The boot loader is new enough to find a HAT+ on PCIe", accelerator=False)
def _boot_loader(_accelerator: AcceleratorAnswer, board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if board.eeprom is None or board.eeprom.date is None:
        return _failed(board.unknown.get("eeprom", "the boot loader tells no date"))
    least = max(FIRST_HAT_PLUS, board.eeprom_minimum or "")
    seen = f"{board.eeprom.date} ({board.eeprom.version})"
    return _passed(seen) if board.eeprom.date >= least else _failed(f"{seen}, wanted {least} or later")


@_point("HW-03", "The HAT+ names itself in the device tree")
def _hat(accelerator: AcceleratorAnswer, board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if accelerator.device is not None and accelerator.device.bus != "pci":
        return _not_applicable("the accelerator is on USB")
    if board.hat is None:
        return _failed("there is nothing in /proc/device-tree/hat: is force_eeprom_read=0 in config.txt?")
    return _passed(", ".join(f"{key} {value!r}" for key, value in board.hat.items() if value))


@_point("HW-04", "The accelerator is found by its number")
def _present(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if accelerator.device is None:
        return _failed("; ".join(accelerator.reasons))
    device = accelerator.device
    return _passed(f"{accelerator.kind.expected}: {device.id} at {device.bus} {device.address}")


@_point("HW-05", "The driver of the image's kernel has the accelerator")
def _driver(accelerator: AcceleratorAnswer, _board: BoardAnswer, evidence: Evidence) -> Verdict:
    if accelerator.device is not None and accelerator.device.bus == "usb":
        return _not_applicable("on USB it needs no driver")
    if accelerator.driver is None or accelerator.driver.bound is None:
        return _failed("; ".join(accelerator.reasons))
    wanted, bound = accelerator.driver.wanted, accelerator.driver.bound
    version = accelerator.versions.driver if accelerator.versions else None
    return _passed(f"{bound}, module {wanted} {version or 'of unknown version'}, kernel {evidence.kernel}")


@_point("HW-06", "Its device node is there, and for its group only")
def _node(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if not accelerator.nodes:
        return _failed("there is no device node")
    seen = ", ".join(f"{node.path} {node.mode} {node.group}" for node in accelerator.nodes)
    if accelerator.device is not None and accelerator.device.bus == "usb":
        return _passed(seen)
    if not all(node.mode.endswith("0") for node in accelerator.nodes):
        return _failed(f"{seen}: open to everybody")
    wanted = accelerator.node_group
    if wanted is not None and any(node.group != wanted for node in accelerator.nodes):
        return _failed(f"{seen}, wanted the group {wanted}")
    return _passed(seen)


@_point("HW-07", "The chip answers, and is of the family that its firmware is for")
def _identity(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if not _is_hailo(accelerator):
        return _not_applicable("a Coral has no such question")
    firmware = accelerator.firmware
    if firmware is None or firmware.version is None:
        return _failed(accelerator.unknown.get("firmware.version", "; ".join(accelerator.reasons)))
    seen = f"{firmware.architecture or 'architecture unknown'}, firmware {firmware.version}"
    fits = (firmware.architecture or "").lower().startswith(accelerator.kind.expected)
    return _passed(seen) if fits else _failed(f"{seen}, wanted {accelerator.kind.expected}")


@_point("HW-08", "Driver, firmware, library, command line and bindings are of one version")
def _versions(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if not _is_hailo(accelerator):
        return _not_applicable("the versions of a Coral need not be equal")
    if accelerator.versions is None:
        return _failed("; ".join(accelerator.reasons))
    known = accelerator.versions.model_dump(exclude={"equal", "odd"})
    seen = ", ".join(f"{name} {value or 'missing'}" for name, value in known.items())
    whole = accelerator.versions.equal is True and all(known.values())
    return _passed(seen) if whole else _failed(seen)


@_point("HW-09", "Every firmware file that the driver asks for is there")
def _firmware(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if not _is_hailo(accelerator):
        return _not_applicable("a Coral takes none from /lib/firmware")
    if accelerator.firmware is None:
        return _failed("; ".join(accelerator.reasons))
    missing = accelerator.firmware.missing
    return _failed(f"missing: {', '.join(missing)}") if missing else _passed("none is missing")


@_point("HW-10", "The PCIe link runs at full speed")
def _link(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    if accelerator.device is not None and accelerator.device.bus == "usb":
        return _not_applicable("the accelerator is on USB")
    link = accelerator.link
    if link is None or link.speed_gts is None or link.width is None:
        return _failed("sysfs tells no speed or width of a link")
    seen = f"{link.speed_gts:g} GT/s x{link.width}"
    full = link.speed_gts >= link.wanted_speed_gts and link.width >= link.wanted_width
    return _passed(seen) if full else _failed(f"{seen}, wanted {link.wanted_speed_gts:g} GT/s x{link.wanted_width}")


@_point("HW-11", "The chip tells a temperature that can be true")
def _temperature(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    value = accelerator.temperature.chip_c
    if value is None:
        on_usb = accelerator.device is not None and accelerator.device.bus == "usb"
        why = accelerator.unknown.get("temperature.chip_c", "; ".join(accelerator.reasons))
        return _not_applicable(why) if on_usb else _failed(why)
    least, most = CHIP_RANGE_C
    return _passed(f"{value:.1f} °C") if least < value < most else _failed(f"{value:.1f} °C")


@_point("HW-12", "A minute of load on every core neither overheats nor slows the board", accelerator=False)
def _load(_accelerator: AcceleratorAnswer, board: BoardAnswer, evidence: Evidence) -> Verdict:
    after = evidence.under_load
    if after is None or after.throttled is None or board.throttled is None:
        return _failed((after or board).unknown.get("throttled", "the board was not asked under load"))
    value = after.temperature.soc_c
    if value is None:
        return _failed(after.unknown.get("temperature.soc_c", "the board tells no temperature"))
    new = sorted(after.throttled.names() - board.throttled.names())
    seen = f"{value:.1f} °C after {evidence.load_s:g} s, {', '.join(new) or 'no new flag'} ({after.throttled.raw})"
    return _failed(seen) if new or value >= SOC_LIMIT_C else _passed(seen)


@_point("HW-13", "The supply holds: no under-voltage now or since the start", accelerator=False)
def _supply(_accelerator: AcceleratorAnswer, board: BoardAnswer, evidence: Evidence) -> Verdict:
    throttled = (evidence.under_load or board).throttled
    if throttled is None:
        return _failed(board.unknown.get("throttled", "the board does not tell"))
    flags = (throttled.now.get("under_voltage"), throttled.since_boot.get("under_voltage"))
    if None in flags:
        return _failed(f"the source tells it in part only ({throttled.raw})")
    return _failed(f"under-voltage ({throttled.raw})") if any(flags) else _passed(throttled.raw)


@_point("HW-14", "The accelerator is well as a whole")
def _whole(accelerator: AcceleratorAnswer, _board: BoardAnswer, _evidence: Evidence) -> Verdict:
    seen = f"{accelerator.state}: {'; '.join(accelerator.reasons)}"
    return _passed(seen) if accelerator.state == "ok" else _failed(seen)


@_point("HW-15", "After a restart the accelerator comes back by itself")
def _restart(_accelerator: AcceleratorAnswer, _board: BoardAnswer, evidence: Evidence) -> Verdict:
    restart = evidence.restart
    if restart is None:
        return _not_applicable("no restart was asked for (--reboot)")
    if restart.accelerator is None:
        return _failed(f"the device is not back: {restart.problem}")
    if restart.problem:
        return _failed(restart.problem)
    seen = f"{restart.accelerator.state} {restart.seconds:.0f} s after it was told to restart"
    if restart.accelerator.state == "ok":
        return _passed(seen)
    return _failed(f"{seen}: {'; '.join(restart.accelerator.reasons)}")
