"""A lab of tiny devices in a folder of the test's own: helpers for the tests that start QEMU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.site import Site
from hatfleet.lab import emulator, lifecycle, machine, process
from hatfleet.lab.device import Device, devices
from hatfleet.lab.images import open_image
from tests.unit.lab_tiny import some_key


@contextlib.contextmanager
def empty_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a lab of the test's own; nothing in it runs on afterwards."""
    # Some tests measure how long a start takes; fetching QEMU, once a machine, does not count.
    emulator.prepare()
    # Deeper than a socket address can hold.
    folder = tmp_path / ("deep" * 20)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    yield folder
    pids = [pid for each in devices() for pid in running(each)]
    lifecycle.down()
    assert not [pid for pid in pids if is_ours(pid)]


def running(device: Device) -> list[int]:
    found = [process.running_pid(path) for path in (device.supervisor_pid_file, device.pid_file)]
    return [pid for pid in found if pid is not None]


def is_ours(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"qemu-system" in words or process.SUPERVISOR.encode() in words


def up(image: Path, count: int = 1, timeout_s: float = 20.0, boot_key: Path | None = None) -> list[Device]:
    return lifecycle.up(
        count, image=image, boot_key=boot_key, memory_mib=64, cpus=1, timeout_s=timeout_s, site=Site(image.parent)
    )


def existing(image: Path, *, host_key: str | None = f"ssh-ed25519 {some_key('B')}") -> Device:
    known = open_image(image)
    device = Device(
        name="edge-01",
        image=known.path,
        image_identity=known.identity,
        user="admin",
        memory_mib=64,
        cpus=1,
        port=machine.free_port(),
        host_key=host_key,
    )
    device.folder.mkdir(parents=True)
    machine.make_disk(device)
    device.save()
    return device


def wait_for(condition: object, what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
