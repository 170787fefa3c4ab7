"""Operations: what they would do. The shell parts run for real, on files of the test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.ops import kernel, packages, packages_held
from hatfleet.ops.files import write_script
from hatfleet.ops.steps import Command
from tests.unit.target import compared


def write(
    path: Path, content: str, *, validate: str | None = None, mode: str = "0644"
) -> subprocess.CompletedProcess[str]:
    script = write_script(str(path), mode=mode, owner="root", group="root", validate=validate)
    return subprocess.run(["/bin/sh", "-c", script], input=content, capture_output=True, text=True, check=False)


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
    subprocess.run(["/bin/sh", "-c", script], input="new", text=True, check=False)
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


@pytest.fixture
def one_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dpkg database with one package, version 1.0, which the real dpkg reads."""
    monkeypatch.setenv("DPKG_ADMINDIR", str(tmp_path))
    (tmp_path / "info").mkdir()
    entry = (
        "Package: one\nStatus: install ok installed\nVersion: 1.0\nArchitecture: all\nMaintainer: t\nDescription: t\n"
    )
    (tmp_path / "status").write_text(entry)
    return tmp_path


def scripts(call: Callable[[], object]) -> list[str]:
    (operation,) = compared(call)
    return [action.script for action in operation.actions if isinstance(action, Command)]


def test_a_package_that_is_there_is_not_installed_again(one_package: Path) -> None:
    assert scripts(lambda: packages(names=["one"])) == []
    assert scripts(lambda: packages(names=["one=1.0"])) == []


def test_an_exact_version_is_installed_even_if_it_is_an_older_one(one_package: Path) -> None:
    (script,) = scripts(lambda: packages(names=["one=0.9", "two"]))
    assert "--allow-downgrades --allow-change-held-packages install one=0.9 two" in script
    (script,) = scripts(lambda: packages(names=["one", "two"]))
    assert "--allow" not in script
    assert script.endswith("install two")


def test_a_package_is_held_once_and_really(one_package: Path) -> None:
    (script,) = scripts(lambda: packages_held(names=["one"]))
    subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True)
    assert "Status: hold ok installed" in (one_package / "status").read_text()
    assert scripts(lambda: packages_held(names=["one"])) == []
