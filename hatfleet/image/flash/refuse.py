"""When a disk is not flashed: every rule with its reason and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.sizes import format_size
from hatfleet.image.flash.device import Device, is_pluggable

#: A disk larger than this is more likely somebody's archive than a device's card, bytes.
DEFAULT_MAX_BYTES = 256 * 2**30


def refuse(device: Device, image_bytes: int, max_bytes: int, forced: str | None) -> None:
    """Refuse to flash a disk that the image does not fit on, that is in use, or that does not look like a card.

    Args:
        device: The disk.
        image_bytes: Size of the unpacked image.
        max_bytes: The size up to which a disk is taken for a card.
        forced: The name of the disk, repeated by the admin, to lift the rules about what looks like a card. A disk that
            is in use is never flashed, and still less the one that the system runs from.

    Raises:
        InputErrors: all rules that say no.
    """
    problems = list(_impossible(device, image_bytes))
    name = forced and forced.removeprefix("/dev/")
    if name and name != device.name:
        problems.append(
            InputError(f"--force-device names {forced}, but the disk is {device.name}", hint="look again which it is")
        )
    if name != device.name and not device.is_file:
        problems += _unlikely(device, max_bytes)
    if problems:
        raise InputErrors(problems) if len(problems) > 1 else problems[0]


def _impossible(device: Device, image_bytes: int) -> Iterator[InputError]:
    name = device.name
    if device.runs_system:
        yield InputError(f"{name} is the disk that this system runs from", hint="nothing can force this")
    elif device.uses:
        yield InputError(f"{name} is in use: {'; '.join(device.uses)}", hint=_how_to_free(device.uses))
    if device.read_only:
        yield InputError(f"{name} is read-only", hint="look for the switch on the card or its adapter")
    if not device.size_bytes:
        yield InputError(f"{name} has no size", hint="is there a card in the reader?")
    elif device.size_bytes < image_bytes:
        missing = format_size(image_bytes - device.size_bytes)
        yield InputError(
            f"{name} has {format_size(device.size_bytes)}, {missing} less than the image", hint="use a larger one"
        )


def _unlikely(device: Device, max_bytes: int) -> Iterator[InputError]:
    force = f"if it is the right one, repeat its name: --force-device {device.name}"
    if not is_pluggable(device):
        how = f", connected by {device.transport}" if device.transport else ""
        yield InputError(f"{device.name} is neither removable nor a USB disk or card{how}", hint=force)
    if device.size_bytes > max_bytes:
        yield InputError(
            f"{device.name} has {format_size(device.size_bytes)}, more than the limit of {format_size(max_bytes)}",
            hint=f"{force}, or raise the limit with --max-size",
        )


def _how_to_free(uses: tuple[str, ...]) -> str:
    if any(" is mounted at " in use for use in uses):
        return "unmount it first: umount, or eject it in your desktop"
    if any(" is swap space" in use for use in uses):
        return "stop using it first: swapoff"
    return "take the volume down first: vgchange -an, cryptsetup close or mdadm --stop"
