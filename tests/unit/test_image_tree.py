"""Work on a root file system stays inside it, whatever its links say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image import tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "shadow").write_text("secret")
    return folder


def test_a_link_in_place_of_a_file_is_replaced_not_followed(root: Path, victim: Path) -> None:
    (root / "etc/shadow").symlink_to(victim / "shadow")
    tree.put(root, "etc/shadow", "new", mode=0o600)
    assert (victim / "shadow").read_text() == "secret"
    assert (root / "etc/shadow").read_text() == "new"
    assert (root / "etc/shadow").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("absolute", [True, False])
def test_nothing_is_written_or_removed_behind_a_folder_that_leads_out(root: Path, victim: Path, absolute: bool) -> None:  # noqa: FBT001
    (root / "out").symlink_to(victim if absolute else "../host")
    for action in (
        lambda: tree.put(root, "out/new", "x"),
        lambda: tree.put(root, "out/deeper/new", "x"),
        lambda: tree.put_link(root, "out/new", "x"),
        lambda: tree.remove(root, "out/*"),
    ):
        with pytest.raises(HatfleetError, match="leads out of the root file system"):
            action()
    assert [path.name for path in victim.iterdir()] == ["shadow"]


def test_a_link_inside_is_followed_like_debians_merged_usr(root: Path) -> None:
    (root / "usr/bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    tree.put(root, "bin/tool", "x", mode=0o755)
    assert (root / "usr/bin/tool").read_text() == "x"


def test_remove_takes_links_that_lead_nowhere_and_folders_and_spares_their_targets(root: Path, victim: Path) -> None:
    (root / "etc/gone").symlink_to("/run/nowhere")
    (root / "etc/gate").symlink_to(victim)
    (root / "etc/gathered/deep").mkdir(parents=True)
    tree.remove(root, "etc/g*")
    tree.remove(root, "missing/folder/*")
    assert list((root / "etc").iterdir()) == []
    assert (victim / "shadow").exists()


def test_remove_works_at_the_top(root: Path) -> None:
    (root / "vmlinuz").symlink_to("boot/vmlinuz-1")
    tree.remove(root, "vmlinuz*")
    assert [path.name for path in root.iterdir()] == ["etc"]


def test_an_archive_depends_on_content_alone(root: Path, tmp_path: Path) -> None:
    (root / "a").write_text("1")
    (root / "z").symlink_to("a")
    tree.pack(root, tmp_path / "one.tar", 1000, tmp_path / "log")
    time.sleep(1.1)
    (root / "a").write_text("1")
    os.utime(root)
    tree.pack(root, tmp_path / "two.tar", 1000, tmp_path / "log")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    (root / "a").chmod(0o600)
    tree.pack(root, tmp_path / "three.tar", 1000, tmp_path / "log")
    assert (tmp_path / "one.tar").read_bytes() != (tmp_path / "three.tar").read_bytes()


def test_an_archive_unpacks_to_the_same_tree(root: Path, tmp_path: Path) -> None:
    (root / "set-id").write_text("x")
    (root / "set-id").chmod(0o4711)
    tree.pack(root, tmp_path / "one.tar", 1000, tmp_path / "log")
    tree.unpack(tmp_path / "one.tar", tmp_path / "again", tmp_path / "log")
    assert (tmp_path / "again/set-id").stat().st_mode & 0o7777 == 0o4711
    tree.unpack(tmp_path / "one.tar", tmp_path / "part", tmp_path / "log", only="./etc")
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["etc"]


def test_a_folder_whose_content_is_left_out_keeps_its_time(root: Path, tmp_path: Path) -> None:
    (root / "etc/file").touch()
    os.utime(root / "etc", (500, 500))
    tree.pack(root, tmp_path / "one.tar", 1000, tmp_path / "log")
    tree.unpack(tmp_path / "one.tar", tmp_path / "again", tmp_path / "log", without="./etc/*")
    assert list((tmp_path / "again/etc").iterdir()) == []
    assert (tmp_path / "again/etc").stat().st_mtime == 500
