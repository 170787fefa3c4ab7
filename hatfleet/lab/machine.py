"""The machine under a device: its disk, its power button, its reset button, its plug.

A device is on while its supervisor (``supervisor``) runs, a process in a session of its own that outlives the command
that started it. QEMU is the supervisor's child and dies with it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Iterable

from hatfleet.common.errors import CommandError, HatfleetError, InputError
from hatfleet.common.run import require_tool, run
from hatfleet.lab import process
from hatfleet.lab.access import run_quietly
from hatfleet.lab.device import ADDRESS, Device, pid_file, supervisor_pid_file

#: How often another port is tried when somebody took ours between choosing and using it.
_PORT_ATTEMPTS = 5

#: How long a system may take to shut itself down before it is cut off, seconds.
POWER_OFF_GRACE_S = 60.0

#: The disk of a device: what is not written takes no room on the host.
DISK_BYTES = 4 * 2**30

#: The firmware stage copies the boot partition and QEMU sets up; on a busy host that takes seconds.
_START_TIMEOUT_S = 120.0

#: What the supervisor takes as the reset button, without and with the tryboot flag.
RESET = signal.SIGUSR1
RESET_TRYBOOT = signal.SIGUSR2


def make_disk(device: Device) -> None:
    """Make the device's own, empty disk on top of the image; the image is never written.

    It is larger than the image, as a card is: the device grows its data partition on its first boot.

    Raises:
        CommandError: qemu-img failed.
        MissingToolError: qemu-img is not installed.
    """
    qemu_img = require_tool("qemu-img", "qemu-utils")
    size = max(DISK_BYTES, device.image.stat().st_size)
    run([qemu_img, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", device.image, device.disk, str(size)])


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
    """Return whether the device is switched on; it is between a reset and the next boot, too."""
    return any(process.running_pid(each) is not None for each in (device.supervisor_pid_file, device.pid_file))


def start(device: Device) -> Device:
    """Switch the device on: firmware stage, then QEMU; return once QEMU runs, with the record as it is now.

    The SSH port changes when somebody else has taken it while the device was off.

    Raises:
        HatfleetError: the device's disk cannot be booted, or QEMU does not start; the message says why.
        MissingToolError: a program is not installed.
    """
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        error = _start_supervisor(device)
        if error is None:
            break
        if "host forwarding rule" not in error.message or attempt == _PORT_ATTEMPTS:
            raise error
        device = device.model_copy(update={"port": free_port({device.port})})
        device.save()
    return device


def _start_supervisor(device: Device) -> HatfleetError | None:
    """Start the supervisor; return None once the machine runs, else why it does not."""
    words = [sys.executable, "-P", "-m", process.SUPERVISOR, device.name, str(device.supervisor_pid_file)]
    try:
        run(words, timeout_s=_START_TIMEOUT_S)
    except CommandError as error:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(error.stderr)
            return HatfleetError(told["message"], hint=told["hint"])
        return error
    return None


def power_off(device: Device, grace_s: float = POWER_OFF_GRACE_S) -> bool:
    """Switch the device off cleanly; return False if it had to be cut off. Its disk is kept either way.

    The system is asked over SSH: a virtual power button needs a driver that Debian's cloud kernel does not have.
    """
    if not is_running(device):
        return True
    # Without --no-block, the connection would be cut before systemctl could say that all is well.
    refusal = run_quietly(device, ["sudo", "-n", "systemctl", "poweroff", "--no-block"], timeout_s=grace_s)
    if refusal is None and process.wait_ended(device.supervisor_pid_file, grace_s) and not is_running(device):
        return True
    cut(device.name)
    return False


def cut(name: str) -> bool:
    """Pull the plug: the disk keeps what had reached it, the tryboot flag is lost; return whether the device was on.

    Needs no record, which may be damaged.
    """
    # The supervisor first, or it would take QEMU's end for one of its own doing.
    return any([process.kill(supervisor_pid_file(name)), process.kill(pid_file(name))])


def reset(device: Device, *, tryboot: bool) -> None:
    """Press the reset button: the machine stops at once and goes through the firmware stage again.

    Args:
        device: The device.
        tryboot: Set the one-shot flag first.

    Raises:
        InputError: the device is off.
    """
    if not process.send(device.supervisor_pid_file, RESET_TRYBOOT if tryboot else RESET):
        raise InputError(f"{device.name} is off", hint=f"start it: provision lab start {device.name}")
