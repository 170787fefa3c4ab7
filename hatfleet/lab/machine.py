"""The machine under a device: its disk, its start behind the firmware stage, its end.

QEMU runs as a daemon in a session of its own, so it outlives the command that started it. KVM is never used: the
guest is another architecture on most hosts, and where it is not, /dev/kvm is no promise that a kernel boots.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run
from hatfleet.lab import firmware, process
from hatfleet.lab.access import run_quietly
from hatfleet.lab.device import ADDRESS, Device

#: The processor core of a Raspberry Pi 5. Emulated, it boots as fast as its predecessor (docs/how-to/lab.md).
CPU_MODEL = "cortex-a76"

#: What the firmware stage adds to the command line, as a board's firmware adds its own: systemd's timeouts of 90 s are
#: made for hardware. Emulated on a busy host, a disk was noticed later than that, and the device gave up its boot.
PATIENCE = "systemd.default_device_timeout_sec=300 systemd.default_timeout_start_sec=300"

#: How often another port is tried when somebody took ours between choosing and using it.
_PORT_ATTEMPTS = 5

#: How long a system may take to shut itself down before it is cut off, seconds.
POWER_OFF_GRACE_S = 60.0


def make_disk(device: Device) -> None:
    """Make the device's own, empty disk on top of the image; the image is never written.

    Raises:
        CommandError: qemu-img failed.
        MissingToolError: qemu-img is not installed.
    """
    qemu_img = require_tool("qemu-img", "qemu-utils")
    run([qemu_img, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", device.image, device.disk])


def free_port(taken: Iterable[int] = ()) -> int:
    """Return a loopback port that nobody listens on now and that is not one of ``taken``."""
    avoid = set(taken)
    while True:
        with socket.socket() as probe:
            probe.bind((ADDRESS, 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port


def is_running(device: Device) -> bool:
    """Return whether the device is switched on."""
    return process.running_pid(device.pid_file) is not None


def start(device: Device) -> Device:
    """Switch the device on: firmware stage, then QEMU; return at once, with the record as it is now.

    The SSH port changes when somebody else has taken it while the device was off.

    Raises:
        FirmwareError: the device's disk cannot be booted.
        HatfleetError: QEMU does not start; the message says what it said.
        MissingToolError: a program is not installed.
    """
    qemu = require_tool("qemu-system-aarch64", "qemu-system-arm")
    boot = firmware.load(device.disk, device.folder)
    for _ in range(_PORT_ATTEMPTS):
        failure = _run_qemu(qemu, device, boot)
        if failure is None:
            return device
        if "host forwarding rule" not in failure:
            break
        device = device.model_copy(update={"port": free_port({device.port})})
        device.save()
    raise HatfleetError(f"QEMU does not start {device.name}: {failure}")


def _run_qemu(qemu: str, device: Device, boot: firmware.BootFiles) -> str | None:
    """Start QEMU; return None once the machine runs, else why it does not."""
    qemu_log(device).unlink(missing_ok=True)
    try:
        # The socket is named relative to the folder: its full path may be longer than a socket address holds.
        run([qemu, *arguments(device, boot)], cwd=device.folder, timeout_s=60)
    except CommandError as error:
        # A daemon of QEMU's has no standard error but its log.
        said = qemu_log(device).read_text(errors="replace") if qemu_log(device).exists() else ""
        return f"{said}{error.stderr}".strip() or str(error)
    return None


def qemu_log(device: Device) -> Path:
    """Return the file with QEMU's own messages since the last start."""
    return device.folder / "qemu.log"


def arguments(device: Device, boot: firmware.BootFiles) -> list[str]:
    """Return QEMU's arguments for a device."""
    return [
        *("-name", f"hatfleet-{device.name}"),
        *("-machine", "virt,gic-version=3"),
        *("-accel", "tcg,thread=multi,tb-size=512"),
        *("-cpu", CPU_MODEL),
        *("-smp", str(device.cpus)),
        *("-m", f"{device.memory_mib}M"),
        "-nodefaults",
        "-no-user-config",
        *("-display", "none"),
        *("-kernel", str(boot.kernel)),
        *("-initrd", str(boot.initrd)),
        *("-append", f"{boot.command_line} {PATIENCE}"),
        *("-drive", f"if=none,id=disk,format=qcow2,discard=unmap,file={_escape(device.disk)}"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"user,id=net,hostfwd=tcp:{ADDRESS}:{device.port}-:22"),
        # Without a boot ROM: the firmware stage boots, not the network card.
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
        # The log keeps what is said while nobody is attached to the socket.
        *("-chardev", f"socket,id=console,path=console.sock,server=on,wait=off,{_log(device.console_log)}"),
        *("-serial", "chardev:console"),
        *("-D", str(qemu_log(device))),
        *("-pidfile", str(device.pid_file)),
        "-daemonize",
    ]


def _log(path: Path) -> str:
    return f"logfile={_escape(path)},logappend=on"


def _escape(path: Path) -> str:
    """Return a path as QEMU's option lists want it: a comma is doubled."""
    return str(path).replace(",", ",,")


def power_off(device: Device, grace_s: float = POWER_OFF_GRACE_S) -> bool:
    """Switch the device off cleanly; return False if it had to be cut off. Its disk is kept either way.

    The system is asked over SSH: a virtual power button needs a driver that Debian's cloud kernel does not have.
    """
    if not is_running(device):
        return True
    # Without --no-block, the connection would be cut before systemctl could say that all is well.
    refusal = run_quietly(device, ["sudo", "-n", "systemctl", "poweroff", "--no-block"], timeout_s=grace_s)
    if refusal is None and process.wait_ended(device.pid_file, grace_s):
        return True
    cut(device)
    return False


def cut(device: Device) -> bool:
    """Pull the plug: QEMU is killed, the disk keeps what had reached it; return whether the device was running."""
    return process.kill(device.pid_file)
