"""A device booted from an image as it is flashed: verified, read-only, and its own where it must be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Provision

pytestmark = pytest.mark.fleet

NAME = "sealed-01"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

#: A panic waits ten seconds; then the device boots, on a busy machine.
PATIENCE_S = 600.0

#: How many places of a system partition get a flipped bit.
FLIPS = 20

#: Of no use while a device boots, and large enough to have blocks of its own.
UNUSED_FILE = "/usr/share/common-licenses/GPL-3"


@pytest.fixture(scope="module")
def device(provision: Provision, edge_virt_image: Path) -> Iterator[str]:
    """The device; the one before is taken down: two processors emulate many devices badly."""
    provision("lab", "down", "--all", expect=None)
    provision("lab", "up", "-n", "1", "--name", "sealed", "--cpus", "2", "--image", str(edge_virt_image))
    yield NAME
    provision("lab", "down", "--all", expect=None)


@pytest.fixture(scope="module")
def on(device: str, on_device: Callable[..., str]) -> Callable[..., str]:
    """Run a shell script as root on the device and return what it printed."""
    return partial(on_device, device)


def console(provision: Provision) -> list[str]:
    return provision("lab", "console", NAME).stdout.splitlines()


def wait_for_another_boot(provision: Provision, before: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = provision("lab", "ssh", NAME, "--", BOOT_ID, expect=None)
        if found.returncode == 0 and found.stdout != before:
            return
        assert time.monotonic() < deadline, "\n".join(console(provision)[-40:])
        time.sleep(2)


def test_the_root_is_verified_and_cannot_be_made_writable(on: Callable[..., str]) -> None:
    source, kind, options = on("findmnt -n -o SOURCE,FSTYPE,OPTIONS /").split()
    assert (source, kind) == ("/dev/dm-0", "erofs")
    assert "ro" in options.split(",")
    table = on("dmsetup table root").split()
    assert table[2] == "verity"
    assert "panic_on_corruption" in table
    assert table[11] == on("cat /proc/cmdline").split("roothash=")[1].split()[0]
    for trick in ("mount -o remount,rw /", "touch /etc/x", "blockdev --setrw /dev/dm-0 && touch /usr/x", "rm /bin/sh"):
        on(f"! {{ {trick}; }}")
    assert on("findmnt -n -o OPTIONS /").split(",")[0] == "ro"


def test_nothing_failed_nothing_is_circular_and_the_kernel_is_clean(on: Callable[..., str]) -> None:
    assert on("systemctl --failed --no-legend --plain") == ""
    # Of systemd itself: this very command is in the journal, too.
    assert on("journalctl -b _PID=1 | grep -i 'ordering cycle' || true") == ""
    assert on("cat /proc/sys/kernel/tainted") == "0\n"


def test_the_first_boot_did_not_make_again_what_the_image_has(on: Callable[..., str]) -> None:
    units = "ldconfig.service systemd-hwdb-update.service systemd-journal-catalog-update.service"
    assert set(on(f"systemctl show -P ConditionResult {units}").split()) == {"no"}


def test_the_first_boot_grew_the_data_partition(on: Callable[..., str], provision: Provision) -> None:
    size_mib = int(on("findmnt -b -n -o SIZE /var")) // 2**20
    assert size_mib > 2500  # of a disk of 4 GiB
    said = "\n".join(console(provision))
    assert "hatfleet-data: partition 7 grows from 64 to" in said
    assert "hatfleet-data: making a file system" in said
    assert "hatfleet-state: this device is new" in said
    on("e2fsck -fn /dev/disk/by-slot/data >/dev/null 2>&1 || [ $? -le 4 ]")  # mounted: only that it is one


def test_a_second_boot_changes_nothing(on: Callable[..., str], provision: Provision, device: str) -> None:
    state = (
        "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; find /var/lib/hatfleet -type f | sort | xargs sha256sum"
    )
    before, said = on(state), len(console(provision))
    provision("lab", "reboot", device)
    assert on(state) == before
    new = [line for line in console(provision)[said:] if line.startswith(("hatfleet-data:", "hatfleet-state:"))]
    assert [line for line in new if ": clean, " not in line] == []


def test_what_belongs_to_the_device_is_applied_and_survives(
    on: Callable[..., str], run_json: Callable[..., Any], provision: Provision, device: str
) -> None:
    first = run_json("apply", "-i", "lab")
    changed = [one for one in first["hosts"][0]["operations"] if one["status"] == "changed"]
    assert {one["half"] for one in changed} == {"device"}
    assert on("cat /etc/hostname; uname -n") == f"{device}\n{device}\n"
    assert run_json("apply", "-i", "lab")["hosts"][0]["state"] == "ok"
    provision("check", "-i", "lab")


def test_a_difference_in_the_image_asks_for_a_new_image_and_the_device_half_is_applied_all_the_same(
    on: Callable[..., str], run_json: Callable[..., Any], tmp_path: Path, device: str
) -> None:
    on("hostname wrong")
    (tmp_path / "hosts.yaml").write_text("all: {vars: {harden: {ssh: {max_auth_tries: 5}}}}\n")
    report = run_json("apply", "-i", "lab", "-i", str(tmp_path), expect=4)
    wanting = [one for one in report["hosts"][0]["operations"] if one["status"] == "needs-image"]
    assert wanting
    assert {one["half"] for one in wanting} == {"image"}
    assert "MaxAuthTries 5" not in on("sshd -T; cat /etc/ssh/sshd_config.d/*")
    assert on("uname -n") == f"{device}\n"


def test_no_flipped_bit_is_ever_read(on: Callable[..., str]) -> None:
    """In a copy of the running system on the other slot's partition, opened like it but without the panic."""
    table = on("dmsetup table root").split()
    blocks = int(table[8])
    places = [(number * 7919 + 13) % blocks for number in range(FLIPS)]
    assert len(set(places)) == FLIPS
    opened = " ".join([*table[:4], "/dev/vda6", "/dev/vda6", *table[6:13]])
    on(f"dd if=/dev/vda5 of=/dev/vda6 bs=4M conv=fsync 2>/dev/null; dmsetup create copy --readonly --table '{opened}'")
    read = "dd if=/dev/mapper/copy of=/dev/null bs=4096 count=1 iflag=direct skip=%d 2>/dev/null"
    try:
        assert on(" && ".join(read % place for place in places) + " && echo all") == "all\n"
        for place in places:
            at = place * 4096 + place % 4096
            # One bit of one byte, under the mapping.
            on(
                f'b=$(od -An -tu1 -j {at} -N1 /dev/vda6); printf "\\\\$(printf %03o $((b ^ 4)))" | '
                f"dd of=/dev/vda6 bs=1 seek={at} conv=notrunc,fsync 2>/dev/null"
            )
        refused = on("echo 3 >/proc/sys/vm/drop_caches; " + "; ".join(f"{read % place} || echo no" for place in places))
        assert refused.split() == ["no"] * FLIPS
    finally:
        # udev may be looking at what it was just told of.
        on("udevadm settle; dmsetup remove --retry copy")


def test_a_flipped_bit_in_the_running_system_ends_it_at_once(on: Callable[..., str], provision: Provision) -> None:
    before, said = on(BOOT_ID), len(console(provision))
    # The block's place in the file system, and so on the partition.
    place = int(on(f"filefrag -b4096 -v {UNUSED_FILE}").splitlines()[3].split()[3].rstrip(".").split(".")[0])
    script = (
        f"printf '\\377' | dd of=/dev/vda5 bs=1 seek={place * 4096 + 100} conv=notrunc,fsync 2>/dev/null; "
        f"echo 3 >/proc/sys/vm/drop_caches; cat {UNUSED_FILE}"
    )
    on(script, expect=None)
    wait_for_another_boot(provision, before)
    new = "\n".join(console(provision)[said:])
    assert "dm-verity device corrupted" in new
    assert "Kernel panic" in new


def test_a_wiped_device_starts_anew(on: Callable[..., str], provision: Provision, device: str) -> None:
    machine_id, said = on("cat /etc/machine-id"), len(console(provision))
    on("echo kept >/var/lib/mine")
    provision("device", "wipe", device, "-i", "lab", "--yes")
    deadline = time.monotonic() + PATIENCE_S
    while not any(line.startswith("hatfleet-hostkey: ") for line in console(provision)[said:]):
        assert time.monotonic() < deadline
        time.sleep(2)
    new = console(provision)[said:]
    assert any("this device is new" in line for line in new)
    # Another key: nobody who trusted the old one logs in.
    pinned = next(row for row in json.loads(provision("lab", "list", "--json").stdout) if row["name"] == device)
    assert f"hatfleet-hostkey: {pinned['host_key']}" not in new
    assert machine_id
