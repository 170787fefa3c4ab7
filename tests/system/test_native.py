"""Programs of this machine's processor, lent to a root file system that has none which could run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.connectors.native import FOLDER

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a root file system is entered as root"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the stand-in has the paths of x86-64"),
]

LENT = ("sh", "true", "cat", "env", "find", "ls", "ln", "mv", "rm", "mktemp", "chmod", "chown", "base64", "mkdir")

#: Have set-id bits, or do something else on another processor.
NOT_LENT = ("su", "uname")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tools tree with a few programs of this machine."""
    folder = tmp_path / "tree"
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    for path in (libraries, folder / "usr/bin", folder / "usr/lib64"):
        path.mkdir(parents=True)
    (folder / "lib64").symlink_to("usr/lib64")
    for program in (*LENT, *NOT_LENT):
        source = Path(str(shutil.which(program)))
        shutil.copy(source, folder / "usr/bin" / program)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=True).stdout
        for library in (Path(word) for word in listed.split() if word.startswith("/")):
            shutil.copy(library, (folder / "usr/lib64") if library.name.startswith("ld-") else libraries)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system without any program, with accounts of its own."""
    folder = tmp_path / "root"
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "usr/sbin", "usr/bin", "usr/lib"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\ninside:x:4711:4712::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nwithin:x:4712:\n")
    return folder


@pytest.fixture
def holder(root: Path, tree: Path) -> Iterator[Holder]:
    with Holder(root, native=tree) as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_programs_run_where_there_is_none(holder: Holder, root: Path) -> None:
    said = holder.check(["sh", "-c", "umask 022; echo inside >/etc/motd; chown inside:within /etc/motd; cat /etc/motd"])
    assert said.stdout == b"inside\n"
    written = root / "etc/motd"
    assert (written.stat().st_uid, written.stat().st_gid, written.stat().st_mode & 0o7777) == (4711, 4712, 0o644)


def test_without_a_tree_there_is_nothing_to_run(root: Path) -> None:
    with Holder(root) as alone:
        assert alone.execute(["sh", "-c", "true"]).returncode == 127


def test_nothing_of_it_stays(root: Path, tree: Path) -> None:
    before, lent = names(root), names(tree)
    with Holder(root, native=tree) as running:
        running.check(["true"])
    assert names(root) == before
    assert names(tree) == lent


def test_only_what_is_listed_is_lent(holder: Holder) -> None:
    assert sorted(holder.check(["ls", FOLDER]).stdout.decode().split()) == sorted((*LENT, "sync"))
    assert holder.check(["find", "/", "-xdev", "-perm", "/6000"]).stdout == b""


def test_sync_waits_for_no_disk(holder: Holder, tree: Path) -> None:
    assert holder.check(["cat", f"{FOLDER}/sync"]).stdout == (tree / "usr/bin/true").read_bytes()


@pytest.mark.parametrize("path", [f"{FOLDER}/new", "/usr/lib/x86_64-linux-gnu/new", "/lib64/ld-linux-x86-64.so.2"])
def test_the_tree_of_all_builds_cannot_be_written(holder: Holder, path: str) -> None:
    with pytest.raises(CommandError, match="Read-only file system"):
        holder.check(["sh", "-c", f"echo evil >>{path}"])


def test_a_link_leads_to_the_root_file_system(holder: Holder, root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (root / "etc/absolute").symlink_to(victim)
    (root / "etc/climbing").symlink_to("../" * 30 + str(victim).lstrip("/"))
    (root / "etc/folder").symlink_to(tmp_path)
    for path in ("/etc/absolute", "/etc/climbing", "/etc/folder/victim"):
        assert holder.execute(["sh", "-c", f"echo owned >{path}"]).returncode != 0
        assert holder.execute(["cat", path]).returncode != 0
    holder.execute(["rm", "-rf", "/etc/folder/victim", "/etc/absolute"])
    assert victim.read_text() == "untouched"


def test_a_place_that_leads_out_is_refused_and_nothing_is_left(root: Path, tree: Path, tmp_path: Path) -> None:
    (root / "lib64").symlink_to(tmp_path)
    before = names(root)
    with pytest.raises(HatfleetError, match="leads out of the root file system"):
        Holder(root, native=tree).start()
    assert names(root) == before
    assert not (tmp_path / "ld-linux-x86-64.so.2").exists()


def test_a_tree_that_is_not_one_is_an_error_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    before = names(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HatfleetError, match="cannot be made ready to run commands"):
        Holder(root, native=tmp_path / "empty").start()
    assert names(root) == before
