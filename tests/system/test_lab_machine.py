"""The machine room for real: QEMU boots a tiny image that only talks on its console."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.lab import lifecycle, machine
from hatfleet.lab.boot import BootError, HostKeyChangedError
from hatfleet.lab.device import devices, lab_dir, load_device
from tests.unit.lab_disks import make_key, public_pem
from tests.unit.lab_room import empty_lab, existing, is_ours, running, up, wait_for
from tests.unit.lab_tiny import key_line, tiny_image

PANIC = "Kernel panic - not syncing: no root\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with empty_lab(tmp_path, monkeypatch) as folder:
        yield folder


def test_a_panic_ends_the_wait_at_once_and_the_device_is_off(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(BootError) as caught:
        up(tiny_image(tmp_path / "x.img", f"booting\n{PANIC}"))
    assert time.monotonic() - started < 15
    assert "the kernel panicked" in str(caught.value)
    assert "    booting" in str(caught.value)
    (device,) = devices()
    assert not machine.is_running(device)
    assert device.console_log.read_text().splitlines()[-2:] == ["booting", PANIC.strip()]


def test_an_error_shows_what_led_to_the_panic_not_what_came_after(tmp_path: Path) -> None:
    trace = "".join(f"trace {number}\n" for number in range(40))
    with pytest.raises(BootError) as caught:
        up(tiny_image(tmp_path / "x.img", f"no root device\n{PANIC}{trace}"))
    assert "    no root device\n" in str(caught.value)
    assert "trace" not in str(caught.value)


def test_a_silent_device_ends_with_a_timeout_and_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"no host key on the console within 2 s(.|\n)*last words"):
        up(tiny_image(tmp_path / "x.img", "last words\n"), timeout_s=2)


def test_every_device_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"2 of 2(.|\n)*edge-01 did not(.|\n)*edge-02 did not"):
        up(tiny_image(tmp_path / "x.img", PANIC), count=2)


def test_a_device_that_never_came_up_is_made_anew(tmp_path: Path) -> None:
    image = tiny_image(tmp_path / "x.img", PANIC)
    with pytest.raises(BootError):
        up(image)
    (device,) = devices()
    (device.folder / "left over").touch()
    with pytest.raises(InputError, match="never came up"):
        lifecycle.start("edge-01")
    with pytest.raises(BootError):
        up(image)
    assert not (device.folder / "left over").exists()


def test_a_changed_host_key_is_refused_and_the_pinned_one_stays(tmp_path: Path) -> None:
    device = existing(tiny_image(tmp_path / "x.img", f"{key_line('C')}\n"))
    with pytest.raises(HostKeyChangedError, match="another host key"):
        lifecycle.start("edge-01", timeout_s=20)
    assert load_device("edge-01").host_key == device.host_key
    assert not machine.is_running(device)


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    device = existing(tiny_image(tmp_path / "x.img", "hello\n"))
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", device.port))
        squatter.listen()
        started = machine.start(device)
    assert started.port != device.port
    assert load_device("edge-01") == started
    assert machine.is_running(started)


def test_what_qemu_says_when_it_does_not_start_reaches_the_user(tmp_path: Path) -> None:
    device = existing(tiny_image(tmp_path / "x.img", "hello\n")).model_copy(update={"cpus": 4000})
    device.save()
    with pytest.raises(HatfleetError, match=r"QEMU does not start edge-01: .*SMP CPUs 4000"):
        machine.start(device)


def test_the_ssh_port_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    device = machine.start(existing(tiny_image(tmp_path / "x.img", "hello\n")))
    entry = f":{device.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    listening = [line.split()[1] for line in lines[1:] if line.split()[1].endswith(entry) and line.split()[3] == "0A"]
    assert listening == [f"0100007F{entry}"]


def test_a_device_outlives_the_command_that_started_it_and_can_be_cut_and_started_again(tmp_path: Path) -> None:
    device = existing(tiny_image(tmp_path / "x.img", "hello\n"))
    code = "from hatfleet.lab import machine, load_device; machine.start(load_device('edge-01'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert machine.is_running(device)
    assert lifecycle.cut("edge-01")
    assert not machine.is_running(device)
    assert not lifecycle.cut("edge-01")
    machine.start(device)
    wait_for(lambda: device.console_log.read_bytes().count(b"hello") == 2, "the console log of both boots")


def test_ctrl_c_leaves_nothing_running_and_nothing_half_made(tmp_path: Path) -> None:
    image = tiny_image(tmp_path / "x.img", "hello\n")
    code = (
        "import sys; from pathlib import Path; from hatfleet.lab import up\n"
        "try: up(2, image=Path(sys.argv[1]), memory_mib=64, cpus=1)\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(image)], stderr=subprocess.DEVNULL)
    wait_for(lambda: [len(running(each)) for each in devices()] == [2, 2], "two running devices")
    pids = [pid for device in devices() for pid in running(device)]
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    assert not [pid for pid in pids if is_ours(pid)]
    assert devices() == []
    assert not (lab_dir() / "edge-01").exists()


def test_an_image_that_is_not_bootable_is_refused_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "x.img"
    broken.write_bytes(bytes(1 << 20))
    with pytest.raises(Exception, match="no partition table"):
        up(broken)
    assert not [each for each in devices() if machine.is_running(each)]


def test_another_image_for_an_existing_device_is_refused(tmp_path: Path) -> None:
    existing(tiny_image(tmp_path / "x.img", "hello\n"))
    with pytest.raises(InputError, match="made from another image"):
        up(tiny_image(tmp_path / "y.img", "other\n"))


def test_a_device_whose_image_changed_is_not_started(tmp_path: Path) -> None:
    image = tiny_image(tmp_path / "x.img", "hello\n")
    existing(image)
    tiny_image(image, "other\n")
    with pytest.raises(InputError, match="has changed"):
        lifecycle.start("edge-01")


def test_a_key_file_that_is_missing_or_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    image = tiny_image(tmp_path / "x.img", "hello\n")
    with pytest.raises(InputError, match="no key file"):
        up(image, boot_key=tmp_path / "missing.pub")
    with pytest.raises(InputError, match="no public key"):
        up(image, boot_key=image)
    assert devices() == []


def test_an_existing_device_does_not_change_its_key(tmp_path: Path) -> None:
    pem = tmp_path / "owner.pub"
    pem.write_bytes(public_pem(make_key()))
    image = tiny_image(tmp_path / "x.img", "hello\n")
    existing(image)
    with pytest.raises(InputError, match="made without a key"):
        up(image, boot_key=pem)
