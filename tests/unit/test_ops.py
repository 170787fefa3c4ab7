"""Operations: what they find, what they would do. The shell parts run for real, on files of the test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hatfleet.ops import files, kernel
from hatfleet.ops.files import read_path, write_script


@pytest.fixture(autouse=True)
def local_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let operations read this machine: the same shell scripts, without a connection."""

    def query(script: str) -> list[str]:
        return subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()

    monkeypatch.setattr(files, "query", query)


def write(
    path: Path, content: str, *, validate: str | None = None, mode: str = "0644"
) -> subprocess.CompletedProcess[str]:
    script = write_script(str(path), mode=mode, owner="root", group="root", validate=validate)
    import base64

    feed = base64.encodebytes(content.encode()).decode()
    return subprocess.run(["/bin/sh", "-c", script], input=feed, capture_output=True, text=True, check=False)


def test_path_states_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("nowhere")
    os.mkfifo(tmp_path / "p")
    kinds = {name: read_path(str(tmp_path / name)).kind for name in "fdlp"}
    assert kinds == {"f": "file", "d": "directory", "l": "link", "p": "other"}
    assert read_path(str(tmp_path / "none")).kind == "absent"
    assert read_path(str(tmp_path / "l")).target == "nowhere"


def test_a_hostile_file_name_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / "a b'$(touch pwned)"
    assert write(path, "x").returncode == 0
    assert read_path(str(path)).size == 1
    assert not (tmp_path / "pwned").exists()


def test_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("keep")
    (tmp_path / "file").symlink_to("victim")
    assert write(tmp_path / "file", "new").returncode == 0
    assert (tmp_path / "victim").read_text() == "keep"
    assert not (tmp_path / "file").is_symlink()


def test_write_gives_the_mode_and_makes_parents(tmp_path: Path) -> None:
    assert write(tmp_path / "a/b/c", "x", mode="0600").returncode == 0
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o600


def test_refused_content_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    assert write(tmp_path / "file", "new", validate="grep -q old %s").returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    script = write_script(
        str(tmp_path / "file"), mode="0644", owner="root", group="root", validate="kill -9 $$; true %s"
    )
    subprocess.run(["/bin/sh", "-c", script], input="bmV3\n", text=True, check=False)
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize(
    ("line", "present", "absent", "wanted"),
    [
        ("a b=1", ["c=2"], [], "a b=1 c=2"),
        ("a b=1", ["b=2"], [], "a b=2"),
        ("b=1 a b=1", ["b=1"], [], "b=1 a"),
        ("console=tty1 console=ttyS0 quiet", [], ["console=ttyS0", "quiet"], "console=tty1"),
        ("console=tty1 console=ttyS0 x", [], ["console="], "x"),
        ("  a   b ", [], [], "a b"),
        ("root=PARTUUID=1-2 ro", ["panic=10"], ["rw"], "root=PARTUUID=1-2 ro panic=10"),
    ],
)
def test_kernel_arguments_are_edited_as_words(line: str, present: list[str], absent: list[str], wanted: str) -> None:
    edited = kernel.edit_arguments(line, present, absent)
    assert edited == wanted
    assert kernel.edit_arguments(edited, present, absent) == wanted
