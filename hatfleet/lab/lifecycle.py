"""Making, starting, stopping and removing virtual devices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hatfleet.common.errors import InputError
from hatfleet.common.progress import say, step
from hatfleet.common.run import require_tool
from hatfleet.common.site import Site
from hatfleet.lab import emulator, machine
from hatfleet.lab.bringup import Template, bring_up
from hatfleet.lab.device import (
    Device,
    device_lock,
    device_names,
    devices,
    folder_names,
    lab_dir,
    load_device,
    remove_folder,
)
from hatfleet.lab.firmware.signature import load_key
from hatfleet.lab.images import LabImage, find_image
from hatfleet.lab.inventory import update_inventory
from hatfleet.lab.machine import is_running

DEFAULT_MEMORY_MIB = 1024
#: With two each, two devices on two cores take twice as long to boot: their emulated processors wait for each other.
DEFAULT_CPUS = 1
#: Two first boots at once on two busy cores were seen to take over four minutes.
BOOT_TIMEOUT_S = 600.0

#: What a device's disk may well grow to in a working day; with less free space nothing is started.
_DISK_RESERVE_MIB = 1024

#: QEMU may take this much beside the memory of the device, most of it for translated code (tb-size).
_QEMU_OVERHEAD_MIB = 512


def running_device(name: str) -> Device:
    """Return a device that is switched on.

    Raises:
        InputError: unknown device, or it is off.
    """
    device = load_device(name)
    if not is_running(device):
        raise InputError(f"{name} is off", hint=f"start it: provision lab start {name}")
    return device


def up(
    count: int | None = None,
    *,
    image: Path | None = None,
    boot_key: Path | None = None,
    prefix: str = "edge",
    memory_mib: int = DEFAULT_MEMORY_MIB,
    cpus: int = DEFAULT_CPUS,
    timeout_s: float = BOOT_TIMEOUT_S,
    site: Site | None = None,
) -> list[Device]:
    """Have ``count`` devices up and ready for SSH: make missing ones, start stopped ones, leave running ones alone.

    Args:
        count: How many; default: all there are with this prefix, at least one.
        image: The disk image for new devices; default: the newest build for virtual devices in the site.
        boot_key: A public key (PEM) for new devices: they boot only what it signed (boot.sig).
        prefix: Begin of the device names.
        memory_mib: Memory of a new device.
        cpus: Processors of a new device.
        timeout_s: How long a device may take to boot.
        site: Where images are looked up; default: the site around the working directory.

    Returns:
        The devices, in the order of their names.

    Raises:
        InputError: no image, unusable image or key, not enough memory or disk space, count out of range.
        BootError: a device did not come up. It is switched off again; its console log is kept.
    """
    known = {device.name: device for device in devices()}
    if count is None:
        count = max([int(name[-2:]) for name in known if name[:-3] == prefix], default=1)
    names = device_names(prefix, count)
    _require_tools()
    wanted = _image_for_new(names, known, image, site or Site.find())
    pinned = _read_boot_key(boot_key, names, known)
    template = Template(wanted, memory_mib, cpus, pinned) if wanted else None
    _check_resources(names, known, template)
    emulator.prepare()
    with step(f"boot {', '.join(names)}") as shown:
        return bring_up(names, template, timeout_s, shown)


def start(name: str, *, timeout_s: float = BOOT_TIMEOUT_S) -> Device:
    """Switch an existing device on and wait until it is ready; nothing to do if it is.

    Raises:
        InputError: unknown device, or one that never came up.
        BootError: it did not come up.
    """
    device = load_device(name)
    _require_tools()
    emulator.prepare()
    with step(f"boot {device.name}") as shown:
        return bring_up([name], None, timeout_s, shown)[0]


def stop(name: str) -> None:
    """Switch a device off cleanly; its disk and its place in the inventory are kept.

    Raises:
        InputError: unknown device.
    """
    load_device(name)
    with device_lock(name, say), step(f"switch {name} off") as shown:
        if not machine.power_off(load_device(name)):
            shown.note = "it did not react: cut off"


def reboot(name: str, *, timeout_s: float = BOOT_TIMEOUT_S) -> Device:
    """Switch a device off and on again, through the firmware stage, and wait until it is ready.

    Raises:
        InputError: unknown device.
        BootError: it did not come up again.
    """
    stop(name)
    return start(name, timeout_s=timeout_s)


def cut(name: str) -> bool:
    """Pull a device's plug; its disk keeps what had reached it, the tryboot flag is lost. Return whether it was on.

    Raises:
        InputError: unknown device.
    """
    # No lock: somebody who pulls a plug does not wait for whoever is just booting the device.
    return machine.cut(load_device(name).name)


def reset(name: str, *, tryboot: bool = False) -> None:
    """Press a device's reset button: no shutdown; it comes up again by itself, through the firmware stage.

    Args:
        name: The device.
        tryboot: Set the one-shot tryboot flag, as the device itself may do: its next boot is a trial.

    Raises:
        InputError: unknown device, or it is off.
    """
    machine.reset(load_device(name), tryboot=tryboot)


def down(names: Sequence[str] | None = None) -> list[str]:
    """Remove devices with their disks and their inventory entries; return the names of those removed.

    Args:
        names: Which; None: all.

    Raises:
        InputError: unknown device; nothing was removed.
    """
    chosen = folder_names(names)
    for name in chosen:
        with device_lock(name, say):
            machine.cut(name)
            remove_folder(name)
    update_inventory()
    return chosen


def _require_tools() -> None:
    for tool, package in (
        ("qemu-system-aarch64", "qemu-system-arm"),
        ("qemu-img", "qemu-utils"),
        ("mcopy", "mtools"),
        ("fdtput", "device-tree-compiler"),
        ("setpriv", "util-linux"),
        ("ssh", "openssh-client"),
    ):
        require_tool(tool, package)


def _image_for_new(names: list[str], known: dict[str, Device], given: Path | None, site: Site) -> LabImage | None:
    """Return the image for new devices; None when all devices exist and no image was named."""
    if given is None and all(name in known and known[name].host_key for name in names):
        return None
    image = find_image(site, given)
    for name in names:
        device = known.get(name)
        if given is not None and device and device.host_key and device.image_identity != image.identity:
            raise InputError(
                f"{name} was made from another image ({device.image})",
                hint=f"remove it first: provision lab down {name}",
            )
    return image


def _read_boot_key(given: Path | None, names: list[str], known: dict[str, Device]) -> str | None:
    """Return the text of the key file; None when none was named."""
    if given is None:
        return None
    try:
        text = given.read_text(errors="replace")
    except OSError as error:
        raise InputError(f"there is no key file {given}: {error.strerror}", hint="give a public key in PEM") from error
    load_key(text.encode(), given)
    for name in names:
        device = known.get(name)
        if device and device.host_key and device.boot_key != text:
            raise InputError(
                f"{name} was made {'with another key' if device.boot_key else 'without a key'} for boot.sig",
                hint=f"remove it first: provision lab down {name}",
            )
    return text


def _check_resources(names: list[str], known: dict[str, Device], template: Template | None) -> None:
    starting = [name for name in names if name not in known or not is_running(known[name])]
    if not starting:
        return
    new_mib = template.memory_mib if template else DEFAULT_MEMORY_MIB
    wanted = sum((known[name].memory_mib if name in known else new_mib) + _QEMU_OVERHEAD_MIB for name in starting)
    available = _available_memory_mib()
    if wanted > available:
        raise InputError(
            f"not enough memory: {len(starting)} devices need {wanted} MiB, {available} MiB are available",
            hint="start fewer devices (-n) or give them less memory (--memory)",
        )
    lab_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(lab_dir()).free // 2**20
    needed = _DISK_RESERVE_MIB * len(starting)
    if free < needed:
        raise InputError(
            f"not enough disk space in {lab_dir()}: {needed} MiB are needed, {free} MiB are free",
            hint="free some space, or set XDG_STATE_HOME to a folder on another disk",
        )


def _available_memory_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
