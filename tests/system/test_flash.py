"""Flashing with whole programs: bmaptool judges our block maps, the kernel our disks, Ctrl-C the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.image.bmap import MIB
from tests.conftest import ROOT
from tests.flash_image import BOOTCFG, EMPTY, SYSTEM, SYSTEM_CONTENT_BYTES, Release, make_release, tool, used_card


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "out")


def provision(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == expect, done.stderr
    return done


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hatfleet.cli.main", "image", "flash", *map(str, arguments)]


@pytest.mark.parametrize("table", ["dos", "gpt"])
@pytest.mark.parametrize("form", ["plain", "packed"])
def test_bmaptool_copies_by_our_map(tmp_path: Path, table: str, form: str) -> None:
    release = make_release(tmp_path / "out", table)
    content = release.content
    card, ours = used_card(tmp_path / "card"), used_card(tmp_path / "ours")
    image = release.packed() if form == "packed" else release.image
    tool(["bmaptool", "copy", "--bmap", release.bmap, image, card])
    provision(image, ours, "--yes")
    copied, flashed = card.read_bytes(), ours.read_bytes()
    for start, end in (
        (0, 4096),
        (BOOTCFG.start_bytes, BOOTCFG.end_bytes),
        (SYSTEM.start_bytes, SYSTEM.start_bytes + SYSTEM_CONTENT_BYTES),
        (EMPTY.start_bytes, EMPTY.start_bytes + MIB),
    ):
        assert copied[start:end] == content[start:end] == flashed[start:end]


def test_bmaptool_refuses_an_image_that_our_map_is_not_of(release: Release, tmp_path: Path) -> None:
    with release.image.open("r+b") as handle:
        handle.seek(SYSTEM.start_bytes)
        handle.write(b"!")
    with pytest.raises(AssertionError, match="checksum mismatch"):
        tool(["bmaptool", "copy", "--bmap", release.bmap, release.image, used_card(tmp_path / "card")])


def test_bmaptools_own_map_is_read(release: Release, tmp_path: Path) -> None:
    tool(["bmaptool", "create", "-o", release.bmap, release.image])
    assert "to write by its block map" in provision(release.image, used_card(tmp_path / "card"), "--yes").stderr


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A real block device: a card of 26 MiB."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    card = used_card(tmp_path / "card")
    done = subprocess.run(["losetup", "-f", "-P", "--show", card], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine gives no loop device: {done.stderr.strip()}")
    device = Path(done.stdout.strip())
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


def test_a_block_device_is_flashed_when_its_name_is_repeated(release: Release, loop: Path) -> None:
    refused = provision(release.packed(), loop, "--yes", expect=2)
    assert f"{loop.name} is neither removable nor a USB disk or card, connected by loop" in refused.stderr
    provision(release.image.with_name("edge-1.0.img.zst"), loop, "--yes", "--force-device", loop.name)
    table = tool(["sfdisk", "--dump", loop])
    assert "label-id: 0x1234abcd" in table
    assert "boot_partition=2" in tool(["mtype", "-i", f"{loop}@@{BOOTCFG.start_bytes}", "::/autoboot.txt"])


def test_a_partition_is_refused_and_its_disk_says_that_it_will_be_lost(release: Release, loop: Path) -> None:
    # Told by hand: not every kernel reads partition tables.
    tool(["addpart", loop, "1", "4096", "8192"])
    part = Path(f"{loop}p1")
    try:
        done = provision(release.image, part, "--yes", "--force-device", part.name, expect=2)
        assert f"{part.name} is a partition" in done.stderr
        assert f"name the whole disk: {loop}" in done.stderr
        said = provision(release.image, loop, "--yes", "--force-device", loop.name).stderr
        assert f"{part.name}, 4.0 MiB, will be lost" in said
    finally:
        subprocess.run(["delpart", loop, "1"], capture_output=True, check=False)


def test_a_mounted_disk_is_refused_by_name_and_by_the_kernel(release: Release, loop: Path, tmp_path: Path) -> None:
    tool(["mkfs.ext4", "-q", loop])
    point = tmp_path / "a mount"
    point.mkdir()
    mounted = subprocess.run(["mount", loop, point], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not mount: {mounted.stderr.strip()}")
    try:
        done = provision(release.image, loop, "--yes", "--force-device", loop.name, expect=2)
        assert f"{loop.name} is in use: {loop.name} is mounted at {point}" in done.stderr
        # Where the mount cannot be seen, as from another mount namespace, the kernel says no.
        hidden = ["unshare", "--mount", "sh", "-c", 'umount "$1" && shift && exec "$@"', "sh", str(point)]
        arguments = command(release.image, loop, "--yes", "--force-device", loop.name)
        behind = subprocess.run([*hidden, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert behind.returncode == 2, behind.stderr
        assert f"{loop.name} is in use by another program, or mounted where this one cannot see it" in behind.stderr
    finally:
        subprocess.run(["umount", point], check=True)


def test_the_disk_this_machine_runs_from_is_refused(release: Release) -> None:
    source = tool(["findmnt", "-n", "-o", "SOURCE", "/"]).strip()
    disks = [line.split()[0] for line in tool(["lsblk", "-nro", "NAME,TYPE"]).splitlines() if line.endswith(" disk")]
    disk = next((name for name in disks if source.removeprefix("/dev/").startswith(name)), None)
    if disk is None:
        pytest.skip(f"the root file system lies on no disk that lsblk shows: {source}")
    done = provision(release.image, f"/dev/{disk}", "--yes", "--force-device", disk, expect=2)
    assert f"{disk} is the disk that this system runs from" in done.stderr


@pytest.fixture
def slow(release: Release, tmp_path: Path) -> Iterator[Path]:
    """A pipe that gives half of the image and then nothing more: a flash of it is at work until it is interrupted."""
    pipe = tmp_path / "slow.img"
    os.mkfifo(pipe)
    give = 'exec 3>"$1" && head -c 12M "$2" >&3 && exec sleep 60'
    with subprocess.Popen(["sh", "-c", give, "sh", pipe, release.image]) as writer:
        yield pipe
        writer.kill()


def test_ctrl_c_leaves_a_disk_without_a_table_and_says_so(release: Release, tmp_path: Path, slow: Path) -> None:
    card = used_card(tmp_path / "card")
    # The real command, but for the file from which it reads the image once it has looked at it.
    script = (
        "import sys, dataclasses, pathlib; from hatfleet.cli import main; from hatfleet.image import flash;"
        "real, slow = flash.open_source, pathlib.Path(sys.argv.pop());"
        "flash.open_source = lambda file: dataclasses.replace(real(file), file=slow); main.main()"
    )
    arguments = [sys.executable, "-c", script, *command(release.image, card, "--yes")[3:], str(slow)]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while card.read_bytes()[SYSTEM.start_bytes] == 0xA5 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "card holds no usable system now: nothing boots from it. Run the same command again." in " ".join(
        err.split()
    )
    assert not any(card.read_bytes()[:MIB])
    provision(release.image, card, "--yes")
    assert "label-id: 0x1234abcd" in tool(["sfdisk", "--dump", card])
