"""What a look at the accelerator means: its state, with every reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hatserve.accelerator.config import Config
from hatserve.accelerator.identify import Answer
from hatserve.accelerator.kinds import KINDS
from hatserve.accelerator.status import Look, State, wanted_link

#: What the driver says in the kernel's log when the chip does not take its firmware (hailort-drivers,
#: linux/pcie/src/pcie.c of 5.1.1 and of the branch hailo8).
UPLOAD_TIMEOUT = re.compile(r"Timeout waiting for (?:(?:\S+ ){0,2}firmware file|vDMA boot data)", re.I)


def judge(look: Look, config: Config, loaded: tuple[str, ...]) -> tuple[State, tuple[str, ...]]:
    """Return the state of an accelerator that is there, and the reasons.

    Args:
        look: What was seen.
        config: What is wanted.
        loaded: The kernel modules of other kinds that are loaded.
    """
    wedged = tuple(_wedged(look))
    degraded = tuple(_degraded(look, config, loaded))
    if wedged:
        return State.WEDGED, wedged + degraded
    if degraded:
        return State.DEGRADED, degraded
    return State.OK, tuple(_well(look))


def _well(look: Look) -> Iterator[str]:
    name = look.kind.title
    if look.identity.firmware:
        yield f"the {name} answers, with firmware {look.identity.firmware}"
    elif look.identity.answer is Answer.IN_USE:
        yield f"the {name} is in use by our inference service"
    else:
        yield f"the {name} is there, with its driver and device node"


def _wedged(look: Look) -> Iterator[str]:
    module = look.kind.module
    if look.device.bus == "usb":
        return
    if look.bound and not look.nodes:
        yield f"the driver {look.device.driver} has the chip and made no device node: the chip did not start"
    if not look.bound and look.kernel_says and UPLOAD_TIMEOUT.search(look.kernel_says):
        yield f"the chip did not take its firmware, so {module} gave it up; the kernel says: {look.kernel_says}"
    answer = look.identity.answer
    if answer is Answer.SILENT or (answer is Answer.CLOSED and not look.strangers):
        yield f"the chip does not answer: {look.identity.why}"


def _degraded(look: Look, config: Config, loaded: tuple[str, ...]) -> Iterator[str]:
    yield from _driver(look, loaded)
    yield from _answer(look)
    yield from _versions(look)
    if look.missing_firmware:
        yield f"firmware files are missing in /lib/firmware: {', '.join(look.missing_firmware)}"
    yield from _link(look, config)
    yield from _rights(look, config)


def _driver(look: Look, loaded: tuple[str, ...]) -> Iterator[str]:
    if look.device.bus == "usb" or look.bound:
        return
    kind = look.kind
    if look.module_loaded:
        said = f"; the kernel says: {look.kernel_says}" if look.kernel_says else ""
        yield f"the driver {kind.module} is loaded and does not have the chip{said}"
        return
    others = [other for other in KINDS.values() if other.module in loaded]
    if others:
        yield (
            f"the loaded driver {others[0].module} is for another family ({others[0].title}); "
            f"a {kind.title} needs {kind.module}"
        )
    else:
        yield f"the driver {kind.module} is not loaded"


def _answer(look: Look) -> Iterator[str]:
    identity = look.identity
    holders = ", ".join(f"{holder.name} (process {holder.pid})" for holder in look.strangers)
    if identity.answer in (Answer.IN_USE, Answer.CLOSED) and holders:
        yield f"the chip is held by {holders}, which has it for itself ({identity.why})"
    elif identity.answer is Answer.IN_USE and not look.holders:
        yield f"HailoRT finds no free chip, and no process holds it ({identity.why})"
    elif identity.answer in (Answer.REFUSED, Answer.NOT_ASKED) and look.nodes and look.kind.coupled:
        yield f"the chip could not be asked: {identity.why}"
    if identity.architecture and identity.architecture not in look.kind.architectures:
        yield (
            f"the chip calls itself {identity.architecture}, wanted {' or '.join(look.kind.architectures)}: "
            "its firmware is of another family"
        )


def _versions(look: Look) -> Iterator[str]:
    if not look.kind.coupled or look.versions.equal is not False:
        return
    known = look.versions.known()
    odd = look.versions.odd
    listed = ", ".join(f"{name} {known[name]}" for name in odd)
    if len(odd) == len(known):
        yield f"versions differ: {listed}"
    else:
        common = next(value for name, value in known.items() if name not in odd)
        yield f"versions differ: {listed}, but everything else is {common}"


def _link(look: Look, config: Config) -> Iterator[str]:
    if look.device.bus == "usb":
        return
    speed, width = look.device.link_speed_gts, look.device.link_width
    wanted_speed, wanted_width = wanted_link(look.kind, config)
    if speed is not None and speed < wanted_speed:
        yield f"the PCIe link runs at {speed:g} GT/s, wanted {wanted_speed:g}"
    if width is not None and width < wanted_width:
        yield f"the PCIe link has {width} lanes, wanted {wanted_width}"


def _rights(look: Look, config: Config) -> Iterator[str]:
    if look.device.bus == "usb":
        # The modes of /dev/bus/usb are systemd's.
        return
    for node in look.nodes:
        if node.world:
            yield f"everybody may open {node.path} (mode {node.mode}), wanted its group only"
        if config.node_group is not None and node.group != config.node_group:
            yield f"{node.path} belongs to the group {node.group}, wanted {config.node_group}"
