"""File systems from folders: what is in them, that checkers find no fault, that they can be made again bit for bit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from hatfleet.common.errors import CommandError
from hatfleet.image.disk import MIB
from hatfleet.image.fat import make_fat
from hatfleet.image.fat import tree_mib as fat_mib
from hatfleet.image.system import Verity
from hatfleet.image.tools import HostTools

EPOCH_S = 1754697600


def make_tree(tree: Path) -> Path:
    (tree / "folder" / "deeper").mkdir(parents=True)
    (tree / "kernel").write_bytes(os.urandom(1000) if not tree.name.startswith("same") else b"k" * 100_000)
    (tree / "folder" / "deeper" / "text.txt").write_text("hello\n")
    (tree / "empty").touch()
    return tree


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fat(image: Path, tree: Path, log: Path, size_mib: int = 40) -> None:
    size, tools = size_mib * MIB, HostTools()
    make_fat(image, tree, size_bytes=size, volume_id=0xABCD, label="BOOT", epoch_s=EPOCH_S, tools=tools, log=log)


def test_fat_holds_the_tree_and_is_sound(tmp_path: Path) -> None:
    fat(tmp_path / "image", make_tree(tmp_path / "same"), tmp_path / "log")
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", tmp_path / "image"], check=True, capture_output=True)
    command = ["mtype", "-i", tmp_path / "image", "::/folder/deeper/text.txt"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"hello\n"


def test_fat_is_the_same_whatever_the_builder_is_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fat(tmp_path / "one", make_tree(tmp_path / "same-1"), tmp_path / "log")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("MTOOLS_LOWER_CASE", "1")
    time.sleep(2.1)  # FAT counts seconds in twos
    old = os.umask(0o077)
    try:
        fat(tmp_path / "two", make_tree(tmp_path / "same-2"), tmp_path / "log")
    finally:
        os.umask(old)
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")


def test_fat_with_other_content_differs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fat(tmp_path / f"{name}.img", make_tree(tmp_path / name), tmp_path / "log")
    assert sha256(tmp_path / "one.img") != sha256(tmp_path / "two.img")


def test_fat_that_is_too_small_is_an_error_and_the_estimate_says_so(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "same")
    (tree / "big").write_bytes(b"x" * (45 * MIB))
    assert fat_mib(tree) > 40
    with pytest.raises(CommandError):
        fat(tmp_path / "image", tree, tmp_path / "log")
    fat(tmp_path / "image", tree, tmp_path / "log", size_mib=fat_mib(tree))


def test_the_initramfs_is_told_all_it_takes_to_open_the_system() -> None:
    assert Verity("ab" * 32, "cd" * 32, 7).kernel_arguments() == (
        f"roothash={'ab' * 32}",
        f"hatfleet.verity=7:{'cd' * 32}",
    )
