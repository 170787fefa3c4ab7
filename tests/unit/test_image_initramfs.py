"""The archive, the modules and the libraries of the initramfs."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image import cpio
from hatfleet.image.elf import needed_libraries
from hatfleet.image.initramfs import kernel_version, load_order


def read_archive(data: bytes) -> dict[str, tuple[int, bytes]]:
    """An independent reader of the format: path to mode and content."""
    found: dict[str, tuple[int, bytes]] = {}
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        name = data[position + 110 : position + 110 + fields[11] - 1].decode()
        start = (position + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], data[start : start + fields[6]])
        position = (start + fields[6] + 3) // 4 * 4


def test_an_archive_reads_back() -> None:
    entries = [
        cpio.folder("bin"),
        cpio.regular("bin/sh", b"12345", 0o755),
        cpio.link("lib", "usr/lib"),
        cpio.character_device("console", 5, 1),
    ]
    data = cpio.archive(entries, 7)
    assert len(data) % 512 == 0
    found = read_archive(data)
    assert found["bin"] == (stat.S_IFDIR | 0o755, b"")
    assert found["bin/sh"] == (stat.S_IFREG | 0o755, b"12345")
    assert found["lib"] == (stat.S_IFLNK | 0o777, b"usr/lib")
    assert found["console"][0] == stat.S_IFCHR | 0o600
    assert data == cpio.archive(entries, 7)
    assert data != cpio.archive(entries, 8)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    folder = tmp_path / "6.12"
    folder.mkdir()
    lines = ("kernel/a-b.ko.xz: kernel/d.ko kernel/c.ko", "kernel/c.ko:", "kernel/d.ko: kernel/c.ko")
    (folder / "modules.dep").write_text("".join(f"{line}\n" for line in lines))
    (folder / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    return folder


def test_modules_load_after_what_they_depend_on(modules: Path) -> None:
    assert load_order(modules, ("a_b",)) == ["kernel/c.ko", "kernel/d.ko", "kernel/a-b.ko.xz"]
    assert load_order(modules, ("d", "a_b")) == ["kernel/c.ko", "kernel/d.ko", "kernel/a-b.ko.xz"]


def test_a_built_in_module_needs_no_file(modules: Path) -> None:
    assert load_order(modules, ("ext4",)) == []


def test_a_module_that_the_kernel_does_not_have_is_an_error(modules: Path) -> None:
    with pytest.raises(HatfleetError, match=r"the kernel 6\.12 has no module virtio_blk"):
        load_order(modules, ("virtio_blk",))


def test_libraries_of_a_program() -> None:
    assert "libc.so.6" in needed_libraries(Path(sys.executable).resolve().read_bytes())


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(200), b"\x7fELF\x02\x01"])
def test_what_is_not_a_program_is_an_error(data: bytes) -> None:
    with pytest.raises(HatfleetError, match="ELF"):
        needed_libraries(data)


def test_a_truncated_program_is_an_error() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    with pytest.raises(HatfleetError, match="damaged"):
        needed_libraries(data[:300])


@pytest.mark.parametrize(("versions", "found"), [((), "none"), (("6.1", "6.12"), "6.1, 6.12")])
def test_an_image_has_one_kernel(tmp_path: Path, versions: tuple[str, ...], found: str) -> None:
    (tmp_path / "usr/lib/modules").mkdir(parents=True)
    for version in versions:
        (tmp_path / "usr/lib/modules" / version).mkdir()
    with pytest.raises(HatfleetError, match=f"one kernel, found {found}"):
        kernel_version(tmp_path)
