"""The firmware stage under a booted device: what the kernel is told, resets, and the one-shot tryboot flag."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.booted import listed
from tests.conftest import Provision

pytestmark = pytest.mark.fleet

SLOT_A = "firmware: partition 2 is chosen by autoboot.txt"
SLOT_B = "firmware: partition 3 is chosen by autoboot.txt"
TRIAL = "firmware: the tryboot flag was set; it is cleared"

ARM = "vcmailbox 0x00038064 4 0 1"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

#: A reset, a boot that may fail after thirty seconds, and another boot, on a busy machine.
PATIENCE_S = 900.0


def bootloader(on_device: Callable[..., str], name: str) -> dict[str, int]:
    """What the kernel was told by the bootloader: 32-bit big-endian numbers."""
    folder = "/proc/device-tree/chosen/bootloader"
    script = f"cd {folder}; for f in partition tryboot boot-mode; do echo $f $(od -An -tx1 $f | tr -d ' '); done"
    return {name: int(value, 16) for name, value in (line.split() for line in on_device(name, script).splitlines())}


def console(provision: Provision, name: str) -> list[str]:
    return provision("lab", "console", name).stdout.splitlines()


def wait_for_another_boot(provision: Provision, name: str, before: str) -> None:
    """Wait until one can log in to a boot other than ``before``; a failed one in between does not count."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = provision("lab", "ssh", name, "--", BOOT_ID, expect=None)
        if found.returncode == 0 and found.stdout != before:
            return
        assert time.monotonic() < deadline, "\n".join(console(provision, name)[-40:])
        time.sleep(2)


def reboot(provision: Provision, on_device: Callable[..., str], name: str, script: str = "true") -> None:
    """Run a script on the device, then reboot it from inside and wait for it."""
    before = on_device(name, BOOT_ID)
    on_device(name, f"{script}; systemctl reboot --no-block")
    wait_for_another_boot(provision, name, before)


def test_the_kernel_is_told_where_it_was_booted_from(device: str, on_device: Callable[..., str]) -> None:
    assert bootloader(on_device, device) == {"partition": 2, "tryboot": 0, "boot-mode": 1}


def test_a_reboot_shuts_down_cleanly_and_goes_through_the_firmware_stage(
    device: str, provision: Provision, on_device: Callable[..., str]
) -> None:
    before, boots = on_device(device, BOOT_ID), console(provision, device).count(SLOT_A)
    assert "cut off" not in provision("lab", "reboot", device).stderr
    assert on_device(device, BOOT_ID) != before
    assert console(provision, device).count(SLOT_A) == boots + 1


def test_a_trial_of_a_slot_without_a_system_comes_back_by_itself(
    device: str, provision: Provision, on_device: Callable[..., str]
) -> None:
    """Slot B gets the boot files of slot A, but its system partition is empty: its initramfs gives up."""
    before = console(provision, device)
    reboot(provision, on_device, device, f"dd if=/dev/vda2 of=/dev/vda3 bs=4M conv=fsync; {ARM}")
    said = console(provision, device)[len(before) :]
    assert said.count(TRIAL) == 1
    firmware = [line for line in said if line in (SLOT_A, SLOT_B)]
    assert firmware == [SLOT_B, SLOT_A]
    assert bootloader(on_device, device) == {"partition": 2, "tryboot": 0, "boot-mode": 1}


def test_a_power_cut_loses_the_flag_and_nothing_that_was_written(
    device: str, provision: Provision, on_device: Callable[..., str]
) -> None:
    cmdline = "/boot/firmware/cmdline-a.txt"
    on_device(
        device,
        "echo kept > /var/lib/lab-test; mount -o remount,rw /boot/firmware; "
        f"sed -i 's/$/ lab.test=1/' {cmdline}; sync; mount -o remount,ro /boot/firmware",
    )
    assert on_device(device, ARM).split()[5] == "0x00000001"
    before, trials = listed(provision)[device], console(provision, device).count(TRIAL)
    provision("lab", "power", device, "cut")
    assert listed(provision)[device]["state"] == "stopped"
    assert "is off" in provision("lab", "ssh", device, "true", expect=2).stderr

    provision("lab", "start", device)
    assert console(provision, device).count(TRIAL) == trials
    assert bootloader(on_device, device)["tryboot"] == 0
    assert listed(provision)[device]["host_key"] == before["host_key"]
    assert on_device(device, "cat /var/lib/lab-test") == "kept\n"
    assert "lab.test=1" in on_device(device, "cat /proc/cmdline").split()
    on_device(
        device,
        f"rm /var/lib/lab-test; mount -o remount,rw /boot/firmware; sed -i 's/ lab.test=1//' {cmdline}; "
        "sync; mount -o remount,ro /boot/firmware",
    )


def test_the_reset_button_brings_the_device_back_without_a_shutdown(
    device: str, provision: Provision, on_device: Callable[..., str]
) -> None:
    before, said = on_device(device, BOOT_ID), len(console(provision, device))
    provision("lab", "power", device, "reset")
    wait_for_another_boot(provision, device, before)
    assert not [line for line in console(provision, device)[said:] if "Reached target" in line and "reboot" in line]
