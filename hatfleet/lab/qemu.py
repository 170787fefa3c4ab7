"""QEMU's command line for a device.

KVM is never used: the guest is another architecture on most hosts, and where it is not, /dev/kvm is no promise that a
kernel boots.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hatfleet.lab.device import ADDRESS, Device
from hatfleet.lab.firmware import BootFiles

MACHINE = "virt,gic-version=3"

#: The processor core of a Raspberry Pi 5.
CPU_MODEL = "cortex-a76"

#: What the firmware stage adds to the command line, as a board's firmware adds its own.
#:
#: systemd's timeouts of 90 s are made for hardware: emulated on a busy host, a disk was noticed later than that, and
#: the device gave up its boot. Page table isolation, which Linux turns on for the sake of its address randomisation
#: where a core cannot hide the kernel's addresses by itself, changes the page tables at every system call; emulated,
#: each change empties the translation cache, and a system call takes ten times as long (docs/benchmarks.md).
FIRMWARE_ARGUMENTS = "systemd.default_device_timeout_sec=300 systemd.default_timeout_start_sec=300 kpti=off"

#: The name of the port through which a device reaches its firmware: /dev/virtio-ports/hatfleet.firmware.
FIRMWARE_PORT = "hatfleet.firmware"


@dataclass(frozen=True)
class Lines:
    """File descriptors that QEMU inherits, each one end of a connection to the supervisor.

    Attributes:
        monitor: For QEMU's monitor (QMP).
        firmware: For the device's port to its firmware.
    """

    monitor: int
    firmware: int


def board_options(device: Device) -> list[str]:
    """Return the options that the device tree depends on, beside ``-machine``."""
    return ["-cpu", CPU_MODEL, "-smp", str(device.cpus), "-m", f"{device.memory_mib}M"]


def arguments(device: Device, boot: BootFiles, device_tree: Path, lines: Lines) -> list[str]:
    """Return QEMU's arguments for a device."""
    return [
        *("-name", f"hatfleet-{device.name}"),
        *("-machine", MACHINE),
        *("-accel", "tcg,thread=multi,tb-size=512"),
        *board_options(device),
        "-nodefaults",
        "-no-user-config",
        *("-display", "none"),
        # A reset ends QEMU, so that the firmware stage runs again.
        *("-action", "reboot=shutdown"),
        # The processor waits for the supervisor: nothing that the device does at once is missed.
        "-S",
        *("-kernel", str(boot.kernel)),
        *(("-initrd", str(boot.initrd)) if boot.initrd else ()),
        *("-append", f"{boot.command_line} {FIRMWARE_ARGUMENTS}"),
        *("-dtb", str(device_tree)),
        *("-drive", f"if=none,id=disk,format=qcow2,discard=unmap,file={_escape(device.disk)}"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"user,id=net,hostfwd=tcp:{ADDRESS}:{device.port}-:22"),
        # Without a boot ROM: the firmware stage boots, not the network card.
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
        # The log keeps what is said while nobody is attached to the socket. Its name is relative to the device's
        # folder: the full path may be longer than a socket address holds.
        *("-chardev", f"socket,id=console,path=console.sock,server=on,wait=off,{_log(device.console_log)}"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=monitor,fd={lines.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=firmware,fd={lines.firmware}"),
        *("-device", f"virtserialport,chardev=firmware,name={FIRMWARE_PORT}"),
        *("-pidfile", str(device.pid_file)),
    ]


def _log(path: Path) -> str:
    return f"logfile={_escape(path)},logappend=on"


def _escape(path: Path) -> str:
    """Return a path as QEMU's option lists want it: a comma is doubled."""
    return str(path).replace(",", ",,")
