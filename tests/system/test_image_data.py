"""The data partition on first and later boots, cut off at every step, as sfdisk, sgdisk and e2fsck see it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hatfleet.image.data import GROW_SCRIPT, MARK, MARK_OFFSET_BYTES
from hatfleet.image.disk import MIB, TableType, place, read_table
from tests.system.loop_disks import (
    LAYOUT_MIB,
    PATH,
    Disk,
    booted,
    flash,
    has_loop_devices,
    may_resize_mounted,
    resize_disk,
)
from tests.unit.disk_images import IDS, damage, sizes, tool

#: Every program that the script runs for what it does, not for its own arithmetic.
STEPS = [
    "sfdisk",
    "blockdev",
    "partx",
    "dd",
    "mkfs.ext4",
    "sync",
    "e2label",
    "e2fsck",
    "dumpe2fs",
    "mkdir",
    "mount",
    "resize2fs",
    "umount",
]


pytestmark = pytest.mark.skipif(not has_loop_devices(), reason="needs root and loop devices")


def require_sound(disk: Disk, table: TableType) -> None:
    """Judge table and file system by tools that are not ours."""
    assert "No errors detected." in tool("sfdisk", "--verify", disk.image)
    if table is TableType.GPT:
        assert "No problems found" in tool("sgdisk", "--verify", disk.image)
    found = read_table(disk.image)
    assert found.warnings == ()
    data = found.layout.partition("data")
    free = disk.image.stat().st_size - data.end_bytes
    assert 0 <= free < 9 * MIB
    assert int(tool("blockdev", "--getsize64", disk.data)) == data.size_bytes
    tool("e2fsck", "-fn", disk.data)
    fields = dict(line.split(":", 1) for line in tool("dumpe2fs", "-h", disk.data).splitlines() if ":" in line)
    assert fields["Filesystem volume name"].strip() == "data"
    if may_resize_mounted():
        assert data.size_bytes - int(fields["Block count"]) * 4096 < 9 * MIB


def digest_but_superblock(image: Path) -> str:
    """Hash a disk without the data partition's superblock: e2fsck notes there when it looked."""
    start = read_table(image).layout.partition("data").start_bytes + 1024
    total = hashlib.sha256()
    with image.open("rb") as handle:
        total.update(handle.read(start))
        handle.seek(1024, os.SEEK_CUR)
        while chunk := handle.read(MIB):
            total.update(chunk)
    return total.hexdigest()


@pytest.fixture(params=list(TableType))
def table(request: pytest.FixtureRequest) -> TableType:
    return TableType(request.param)


@pytest.fixture
def image(tmp_path: Path, table: TableType) -> Path:
    flash(tmp_path / "disk.img", table)
    return tmp_path / "disk.img"


def test_the_first_boot_grows_and_makes_and_the_second_changes_nothing(image: Path, table: TableType) -> None:
    with booted(image, table) as disk:
        first = disk.grow()
        assert first.returncode == 0, first
        require_sound(disk, table)
    with booted(image, table) as disk:
        before = digest_but_superblock(image)
        second = disk.grow()
        assert second.returncode == 0
        assert digest_but_superblock(image) == before
    assert all(line.startswith("hatfleet-data: ") for line in (first.stdout + second.stdout).splitlines())
    assert "grows" in first.stdout and "grows" not in second.stdout


def test_no_other_partition_is_touched(tmp_path: Path, image: Path, table: TableType) -> None:
    layout = read_table(image).layout
    for placed in layout.partitions[:-1]:
        damage(image, placed.start_bytes, b"first of " + placed.name.encode())
        damage(image, placed.end_bytes - 20, b"last of " + placed.name.encode())
    end = layout.partition("system_b").end_bytes
    with image.open("rb") as handle:
        before = handle.read(end)
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
    with image.open("rb") as handle:
        after = handle.read(end)
    for placed in layout.partitions[:-1]:
        assert after[placed.start_bytes : placed.end_bytes] == before[placed.start_bytes : placed.end_bytes]
    assert read_table(image).layout.partitions[:-1] == layout.partitions[:-1]


def test_it_works_in_a_read_only_root_while_the_system_partition_is_in_use(
    tmp_path: Path, image: Path, table: TableType
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    enter = f"""
    mount --rbind / {root} && mount -o remount,bind,ro {root} && mount -t tmpfs tmpfs {root}/run || exit 99
    ! touch {root}/etc/written 2>/dev/null || exit 98
    cp {GROW_SCRIPT} {root}/run/grow-data.sh
    exec chroot {root} sh /run/grow-data.sh "$@"
    """
    with booted(image, table) as disk:
        # As the kernel has it: opened for itself alone.
        in_use = os.open(f"{disk.device}p{disk.number - 2}", os.O_RDONLY | os.O_EXCL)
        try:
            argv = ["unshare", "--mount", "sh", "-c", enter, "sh", disk.device, str(disk.number), disk.data]
            done = subprocess.run(argv, check=False, capture_output=True, text=True, env={"PATH": PATH})
        finally:
            os.close(in_use)
        assert done.returncode == 0, done
        require_sound(disk, table)


def test_a_larger_disk_enlarges_a_file_system_and_keeps_its_files(
    tmp_path: Path, image: Path, table: TableType
) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        with disk.mounted(tmp_path / "mnt") as folder:
            (folder / "precious").write_text("kept")
    resize_disk(image, 700)
    with booted(image, table) as disk:
        done = disk.grow()
        assert done.returncode == 0 and "the file system on" in done.stdout, done
        require_sound(disk, table)
        with disk.mounted(tmp_path / "mnt") as folder:
            assert (folder / "precious").read_text() == "kept"


def test_a_card_of_an_earlier_life_brings_nothing_into_the_new_one(
    tmp_path: Path, image: Path, table: TableType
) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        with disk.mounted(tmp_path / "mnt") as folder:
            (folder / "secret").write_text("of another device")
    flash(image, table)
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        require_sound(disk, table)
        with disk.mounted(tmp_path / "mnt") as folder:
            assert [path.name for path in folder.iterdir()] == ["lost+found"]


@pytest.mark.parametrize("growing", ["first boot", "larger disk"])
def test_cut_off_before_every_step_and_taken_up_again(
    tmp_path: Path, image: Path, table: TableType, growing: str
) -> None:
    later = growing == "larger disk"
    if later:
        with booted(image, table) as disk:
            assert disk.grow().returncode == 0
            with disk.mounted(tmp_path / "mnt") as folder:
                (folder / "precious").write_text("kept")
        resize_disk(image, 700)
    state = tmp_path / "state.img"
    shutil.copyfile(image, state)
    script = interruptible(tmp_path)
    cuts = 0
    for step in range(1, 100):
        tool("cp", "--sparse=always", state, image)
        with booted(image, table) as disk:
            cut = disk.grow(script, CUT_AT=str(step), COUNTER=str(tmp_path / f"count-{step}"))
        if cut.returncode == 0:
            break
        cuts += 1
        assert cut.returncode == -9, cut
        require_converges(tmp_path, image, table, "precious" if later else "lost+found")
    assert cuts >= 10


@pytest.mark.parametrize("after_s", ["0", "0.002", "0.005", "0.01", "0.02", "0.05"])
def test_cut_off_while_the_file_system_is_made(tmp_path: Path, image: Path, table: TableType, after_s: str) -> None:
    script = interruptible(tmp_path)
    with booted(image, table) as disk:
        cut = disk.grow(script, CUT_IN="mkfs.ext4", AFTER_S=after_s, COUNTER=str(tmp_path / "count"))
    assert cut.returncode == -9, cut
    require_converges(tmp_path, image, table, "lost+found")


def require_converges(
    tmp_path: Path, image: Path, table: TableType, holds: str, *, without: str = "none", sound_table: bool = True
) -> None:
    with booted(image, table) as disk:
        done = disk.grow()
        assert done.returncode == 0, done
        if sound_table:
            require_sound(disk, table)
        with disk.mounted(tmp_path / "mnt") as folder:
            assert (folder / holds).exists()
            assert not (folder / without).exists()


def interruptible(tmp_path: Path) -> Path:
    """Return the script with programs that kill it: before step CUT_AT, or AFTER_S seconds into program CUT_IN."""
    folder = tmp_path / "steps"
    folder.mkdir()
    for name in STEPS:
        real = shutil.which(name, path=PATH)
        (folder / name).write_text(
            f"""#!/bin/sh
            echo {name} >>"$COUNTER"
            [ "$(wc -l <"$COUNTER")" != "${{CUT_AT-}}" ] || kill -9 0
            [ {name} != "${{CUT_IN-}}" ] || {{ {real} "$@" & sleep "$AFTER_S"; kill -9 0; }}
            exec {real} "$@"
            """
        )
        (folder / name).chmod(0o755)
    text = GROW_SCRIPT.read_text()
    changed = text.replace("export PATH=", f"export PATH={folder}:")
    assert changed != text
    script = tmp_path / "interruptible.sh"
    script.write_text(changed)
    return script


def test_a_damaged_superblock_costs_no_file(tmp_path: Path, image: Path, table: TableType) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        with disk.mounted(tmp_path / "mnt") as folder:
            (folder / "precious").write_text("kept")
    damage(image, read_table(image).layout.partition("data").start_bytes + 1024, bytes(1024))
    with booted(image, table) as disk:
        done = disk.grow()
        assert done.returncode == 0, done
        require_sound(disk, table)
        with disk.mounted(tmp_path / "mnt") as folder:
            assert (folder / "precious").read_text() == "kept"


@pytest.mark.parametrize("content", [b"", b"somebody else's file system"])
def test_without_the_mark_nothing_is_made_whatever_is_there(image: Path, table: TableType, content: bytes) -> None:
    damage(image, MARK_OFFSET_BYTES)
    start = read_table(image).layout.partition("data").start_bytes
    damage(image, start, content)
    with booted(image, table) as disk:
        done = disk.grow()
        assert done.returncode == 4, done
    with image.open("rb") as handle:
        handle.seek(start)
        assert handle.read(8 * MIB).strip(b"\0") == content
    assert "provision device wipe" in done.stdout


def test_the_mark_back_in_its_place_is_a_wipe(tmp_path: Path, image: Path, table: TableType) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        with disk.mounted(tmp_path / "mnt") as folder:
            (folder / "secret").write_text("to be gone")
    damage(image, MARK_OFFSET_BYTES, MARK)
    require_converges(tmp_path, image, table, "lost+found", without="secret")


def test_damage_beyond_repair_stops_and_removes_nothing(tmp_path: Path, image: Path, table: TableType) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        # The root folder's inode says it is a file: nothing that e2fsck may mend unasked.
        tool("debugfs", "-w", "-R", "set_inode_field <2> mode 0100644", disk.data)
        tool("debugfs", "-w", "-R", "set_super_value state 0", disk.data)
        done = disk.grow()
        assert done.returncode == 4, done
        assert "cannot be repaired unasked (e2fsck: 4)" in done.stdout


def test_a_clock_of_1970_is_no_reason_to_stop(tmp_path: Path, image: Path, table: TableType) -> None:
    with booted(image, table) as disk:
        assert disk.grow().returncode == 0
        with disk.mounted(tmp_path / "mnt") as folder:
            (folder / "precious").write_text("kept")
        done = disk.grow(E2FSCK_TIME="120")
        assert done.returncode == 0, done
        require_sound(disk, table)


def test_a_few_free_sectors_are_not_worth_a_write(tmp_path: Path, table: TableType) -> None:
    image = tmp_path / "disk.img"
    flash(image, table)
    resize_disk(image, place(table, sizes(*LAYOUT_MIB), IDS).size_bytes // MIB + 5)
    before = read_table(image).layout.partitions
    with booted(image, table) as disk:
        done = disk.grow()
        assert done.returncode == 0 and "grows" not in done.stdout
    assert read_table(image).layout.partitions == before


def test_a_disk_beyond_two_tebibytes(tmp_path: Path, table: TableType) -> None:
    image = tmp_path / "disk.img"
    flash(image, table, 3 * MIB)
    # Without its mark no file system is made: of that size it would take a while.
    damage(image, MARK_OFFSET_BYTES)
    with booted(image, table) as disk:
        assert disk.grow().returncode == 4
        end = read_table(image).layout.partition("data").end_bytes
        limit = 2**41 if table is TableType.MBR else image.stat().st_size
        assert limit - 9 * MIB < end < limit
        assert "No errors detected." in tool("sfdisk", "--verify", image)


def test_a_damaged_copy_of_a_gpt_keeps_no_device_from_its_data(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    flash(image, TableType.GPT)
    with booted(image, TableType.GPT) as disk:
        assert disk.grow().returncode == 0
    damage(image, 512 + 40)
    assert read_table(image).warnings
    require_converges(tmp_path, image, TableType.GPT, "lost+found", sound_table=False)


def test_a_missing_device_and_wrong_arguments_are_said() -> None:
    for arguments in ([], ["/dev/null", "7", "/dev/none"]):
        done = subprocess.run(["sh", GROW_SCRIPT, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 2
        assert "hatfleet-data: " in done.stdout
