"""Looking at the accelerator, several times when its firmware may still be loading."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hatserve.accelerator.bus import Device, find_devices
from hatserve.accelerator.config import Config
from hatserve.accelerator.identify import Answer, Identity, identify
from hatserve.accelerator.judge import UPLOAD_TIMEOUT, judge
from hatserve.accelerator.kinds import KINDS, NONE, Kind
from hatserve.accelerator.nodes import find_holders, find_nodes
from hatserve.accelerator.status import Look, State, Status
from hatserve.accelerator.versions import find_versions
from hatserve.system import System, run
from hatserve.temperature import apex_temperature, hailo_temperature, soc_temperature

#: How long reading the kernel's log may take, in seconds.
_DMESG_TIMEOUT_S = 10.0

#: What a driver's file in /lib/firmware may end with besides its name.
_PACKED = ("", ".xz", ".zst")


def probe(system: System, config: Config, sleep: Callable[[float], None] = time.sleep) -> Status:
    """Find out how the accelerator is.

    A chip that does not answer yet is looked at again, as often as the configuration says.

    Args:
        system: The system to look at.
        config: What is wanted.
        sleep: Waits for a number of seconds.
    """
    attempt = 1
    while True:
        status = _probe_once(system, config, attempt)
        if not status.may_be_starting or attempt >= config.probe_attempts:
            return status
        sleep(config.probe_interval_s)
        attempt += 1


def _probe_once(system: System, config: Config, attempt: int) -> Status:
    devices = find_devices(system)
    expected = config.kind or (devices[0].kind.name if devices else NONE)
    soc_c, why = soc_temperature(system)
    nothing = Status(
        state=State.OK if expected == NONE else State.ABSENT,
        reasons=(_why_absent(expected, config, devices),),
        config=config,
        expected=expected,
        found=tuple(dict.fromkeys(device.kind.name for device in devices)),
        look=None,
        soc_c=soc_c,
        attempts=attempt,
        unknown={"temperature.soc_c": why} if why else {},
    )
    device = next((device for device in devices if device.kind.name == expected), None)
    if device is None:
        return nothing
    look = _look(system, config, device)
    loaded = tuple(kind.module for kind in KINDS.values() if _is_loaded(system, kind))
    state, reasons = judge(look, config, loaded)
    if state is State.WEDGED and attempt > 1:
        reasons = (*reasons, f"it was looked at {attempt} times, {config.probe_interval_s:g} s apart")
    return replace(nothing, state=state, reasons=reasons, look=look)


def _why_absent(expected: str, config: Config, devices: list[Device]) -> str:
    others = ", ".join(f"{device.kind.title} ({device.id})" for device in devices)
    if expected == NONE:
        if config.kind is None:
            return "no accelerator is there and none is configured: models run on the CPU"
        unused = f"; {others} is there and not used" if others else ""
        return f"no accelerator is wanted: models run on the CPU{unused}"
    kind = KINDS[expected]
    numbers = " or ".join((*kind.pci_ids, *kind.usb_ids))
    instead = f"; there is {others} instead" if others else ""
    return f"no {kind.title} ({numbers}) is on {'PCI or USB' if kind.usb_ids else 'PCI'}{instead}"


def _look(system: System, config: Config, device: Device) -> Look:
    kind = device.kind
    nodes = find_nodes(system, device)
    holders, why_not_all = find_holders(system, nodes) if nodes else ((), None)
    identity = _ask(kind, config) if nodes else Identity(Answer.NOT_ASKED, why="there is no device node")
    chip_c, why_no_temperature = _chip_temperature(device, identity)
    unknown = {"temperature.chip_c": why_no_temperature, "holders": why_not_all}
    if device.bus == "pci" and device.link_speed_gts is None:
        unknown["link.speed_gts"] = "sysfs tells no speed of the link"
    if identity.firmware is None:
        unknown["firmware.version"] = identity.why
    return Look(
        device=device,
        module_loaded=_is_loaded(system, kind),
        nodes=nodes,
        identity=identity,
        versions=find_versions(system, kind, identity.firmware),
        missing_firmware=_missing_firmware(system, kind),
        holders=holders,
        kernel_says=None if device.driver or device.bus == "usb" else _kernel_message(kind),
        chip_c=chip_c,
        unknown={name: why for name, why in unknown.items() if why},
    )


def _ask(kind: Kind, config: Config) -> Identity:
    if not kind.coupled:
        return Identity(Answer.NOT_ASKED, why=f"a {kind.title} tells no version of its firmware")
    return identify(config.identify_timeout_s)


def _chip_temperature(device: Device, identity: Identity) -> tuple[float | None, str | None]:
    if not device.kind.coupled:
        folders = sorted(device.folder.glob(f"{device.kind.classes[0]}/*"))
        return apex_temperature(folders[0]) if folders else (None, "a stick on USB tells no temperature")
    if identity.answer is not Answer.ANSWERED:
        return None, "the chip did not answer"
    return hailo_temperature()


def _is_loaded(system: System, kind: Kind) -> bool:
    return system.path(f"/sys/module/{kind.module}").is_dir()


def _missing_firmware(system: System, kind: Kind) -> tuple[str, ...]:
    folder = system.path("/lib/firmware")
    return tuple(pattern for pattern in kind.firmware if not _is_there(folder, pattern))


def _is_there(folder: Path, pattern: str) -> bool:
    return any(file.is_file() for packed in _PACKED for file in folder.glob(pattern + packed))


def _kernel_message(kind: Kind) -> str | None:
    """Return why the driver gave the chip up when it last tried, as the kernel's log has it."""
    lines = [line.strip() for line in run(["dmesg"], _DMESG_TIMEOUT_S).output.splitlines()]
    about = [line for line in lines if re.search(rf"\b{kind.driver}", line, re.I)]
    starts = [index for index, line in enumerate(about) if "Probing on" in line]
    wrong = re.compile(r"\bfail|\berror|timeout|\berr\b", re.I)
    complaints = [line for line in about[starts[-1] if starts else 0 :] if wrong.search(line)]
    # What follows a timeout only says that the firmware was not loaded.
    timeouts = [line for line in complaints if UPLOAD_TIMEOUT.search(line)]
    return next(iter([*timeouts, *reversed(complaints)]), None)
