"""The lab: virtual devices on this machine, booted from the same images as real ones.

From Python:

    from hatfleet import lab

    two = lab.up(2)                     # edge-01 and edge-02: made, booted, host keys pinned, login works
    lab.cut("edge-02")                  # pull the plug; the disk stays
    lab.reset("edge-01", tryboot=True)  # the reset button, with the one-shot flag for a trial boot
    lab.start("edge-02")                # boot it again from its own disk
    lab.reboot("edge-01")               # off and on, through the firmware stage
    lab.down([device.name for device in two])

``lab.devices()`` lists what there is. State lies in ``$XDG_STATE_HOME/hatfleet/lab``: a folder for each device (disk,
console log, record), the lab's SSH key, and an inventory that ``-i lab`` finds.

How it works, a module each: ``firmware`` (what a board does before the kernel), ``supervisor`` (the process behind a
device: firmware and QEMU, again after each reset), ``qemu`` (its command line), ``mailbox`` (how a device arms a trial
boot), ``machine`` (power and reset), ``process`` (is it ours, and ending it), ``console`` (what a device says),
``boot`` (waiting for it), ``bringup`` (several at once), ``access`` (SSH), ``images``, ``inventory``, ``device`` (the
records), ``lifecycle`` (the functions above).
"""

from hatfleet.lab.access import ssh_command
from hatfleet.lab.boot import BootError, HostKeyChangedError
from hatfleet.lab.console import ConsoleReader
from hatfleet.lab.device import ADDRESS, Device, devices, load_device
from hatfleet.lab.inventory import inventory_dir, known_hosts_file
from hatfleet.lab.lifecycle import cut, down, reboot, reset, running_device, start, stop, up
from hatfleet.lab.machine import is_running

__all__ = [
    "ADDRESS",
    "BootError",
    "ConsoleReader",
    "Device",
    "HostKeyChangedError",
    "cut",
    "devices",
    "down",
    "inventory_dir",
    "is_running",
    "known_hosts_file",
    "load_device",
    "reboot",
    "reset",
    "running_device",
    "ssh_command",
    "start",
    "stop",
    "up",
]
