"""Power and reset for real: QEMU behind the firmware stage, with kernels of fifty bytes in both slots."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.lab import lifecycle, machine, process
from hatfleet.lab.boot import BootError
from hatfleet.lab.device import Device, load_device
from tests.unit.lab_disks import autoboot, boot_sig, make_disk, make_fat, make_key, public_pem, slot
from tests.unit.lab_room import empty_lab, existing, is_ours, running, up, wait_for
from tests.unit.lab_tiny import tiny_image, tiny_kernel

PANIC = "Kernel panic - not syncing: no root\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with empty_lab(tmp_path, monkeypatch) as folder:
        yield folder


def two_slots(path: Path, a: bytes, b: bytes) -> Path:
    """An image in our layout with a tiny kernel in each slot; autoboot.txt: A, on trial B."""
    return make_disk(path, {1: {"autoboot.txt": autoboot()}, 2: slot(vmlinuz=a), 3: slot(vmlinuz=b)})


def said(device: Device, line: str) -> int:
    """How often a line stands on the console."""
    return device.console_log.read_text().splitlines().count(line)


def test_a_reset_from_inside_goes_through_the_firmware_stage_and_a_trial_is_over_after_it(tmp_path: Path) -> None:
    """Slot B resets the machine at once, as a broken trial does."""
    image = two_slots(tmp_path / "x.img", tiny_kernel("this is A\n"), tiny_kernel("this is B\n", "reset"))
    device = machine.start(existing(image))
    wait_for(lambda: said(device, "this is A") == 1, "slot A")
    before = process.running_pid(device.supervisor_pid_file)
    lifecycle.reset("edge-01", tryboot=True)
    wait_for(lambda: said(device, "this is A") == 2, "slot A again")
    assert said(device, "this is B") == 1
    assert said(device, "firmware: partition 3 is chosen by autoboot.txt") == 1
    assert said(device, "firmware: partition 2 is chosen by autoboot.txt") == 2
    assert machine.is_running(device)
    assert process.running_pid(device.supervisor_pid_file) == before


def test_the_reset_button_needs_no_answer_from_inside_and_leaves_the_slot_as_it_is(tmp_path: Path) -> None:
    image = two_slots(tmp_path / "x.img", tiny_kernel("this is A\n"), tiny_kernel("this is B\n"))
    device = machine.start(existing(image))
    wait_for(lambda: said(device, "this is A") == 1, "slot A")
    lifecycle.reset("edge-01")
    wait_for(lambda: said(device, "this is A") == 2, "slot A again")
    lifecycle.reset("edge-01", tryboot=True)
    wait_for(lambda: said(device, "this is B") == 1, "slot B")
    lifecycle.reset("edge-01")
    wait_for(lambda: said(device, "this is A") == 3, "slot A after the trial")
    assert said(device, "this is B") == 1


def test_a_line_that_a_reset_cut_off_is_not_joined_with_the_firmwares(tmp_path: Path) -> None:
    device = machine.start(existing(two_slots(tmp_path / "x.img", tiny_kernel("half a line"), b"")))
    wait_for(lambda: said(device, "half a line") == 1, "slot A")
    lifecycle.reset("edge-01")
    wait_for(lambda: said(device, "half a line") == 2, "slot A again")
    assert said(device, "firmware: partition 2 is chosen by autoboot.txt") == 2


def test_a_device_that_switches_itself_off_is_off_and_leaves_no_process(tmp_path: Path) -> None:
    image = two_slots(tmp_path / "x.img", tiny_kernel("bye\n", "off"), b"")
    device = machine.start(existing(image))
    wait_for(lambda: not machine.is_running(device), "the device to be off")
    assert said(device, "bye") == 1
    assert not device.supervisor_pid_file.exists()
    with pytest.raises(InputError, match="is off"):
        lifecycle.reset("edge-01")


def test_why_a_disk_cannot_be_booted_stands_on_the_console(tmp_path: Path) -> None:
    device = existing(two_slots(tmp_path / "x.img", tiny_kernel("this is A\n"), b""))
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -z 0 32M", device.disk], check=True, capture_output=True)
    with pytest.raises(HatfleetError, match="no partition table"):
        machine.start(device)
    assert "firmware: halted: the disk has no partition table" in device.console_log.read_text()
    assert not machine.is_running(device)


@pytest.mark.parametrize("killed", ["supervisor_pid_file", "pid_file"])
def test_whichever_process_is_killed_the_other_ends_and_the_device_can_be_started_again(
    tmp_path: Path, killed: str
) -> None:
    device = machine.start(existing(tiny_image(tmp_path / "x.img", "hello\n")))
    pids = running(device)
    assert len(pids) == 2
    assert process.kill(getattr(device, killed))
    wait_for(lambda: not [pid for pid in pids if is_ours(pid)], "both processes to end")
    assert not machine.is_running(device)
    machine.start(device)
    assert len(running(device)) == 2


def test_a_device_with_a_pinned_key_boots_only_what_that_key_signed(tmp_path: Path) -> None:
    key = make_key()
    pem = tmp_path / "owner.pub"
    pem.write_bytes(public_pem(key))
    unsigned = two_slots(tmp_path / "x.img", tiny_kernel("unsigned\n"), b"")
    with pytest.raises(HatfleetError, match=r"partition 2 has no boot\.img"):
        up(unsigned, boot_key=pem)
    lifecycle.down()
    ramdisk = make_fat(tmp_path / "boot.img", slot(vmlinuz=tiny_kernel(PANIC)), size_bytes=1 << 20).read_bytes()
    files = {"config.txt": b"boot_ramdisk=1\n", "boot.img": ramdisk, "boot.sig": boot_sig(ramdisk, key)}
    signed = make_disk(tmp_path / "y.img", {1: {"autoboot.txt": autoboot()}, 2: files, 3: None})
    with pytest.raises(BootError, match="the kernel panicked"):
        up(signed, boot_key=pem)
    assert load_device("edge-01").boot_key == pem.read_text()
