"""What a stage's key counts: everything that goes into an output, and nothing that does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hatfleet.image.stage import code, plain_umask, role_code


def test_the_code_of_a_stage_is_modules_folders_and_files() -> None:
    parts = [code("tree"), code("disk"), code("files/state.sh"), code("tree", "disk")]
    assert len(set(parts)) == len(parts)


def test_a_module_that_is_not_there_is_an_error_and_not_nothing() -> None:
    with pytest.raises(FileNotFoundError, match="no such module or file"):
        code("tree", "files/state")


def test_a_roles_checks_do_not_change_an_image(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.j2").write_text("a")
    before = role_code(tmp_path)
    for name in ("checks.py", "checks_ssh.py"):
        (tmp_path / name).write_text("x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("x")
    assert role_code(tmp_path) == before
    (tmp_path / "templates" / "a.j2").write_text("b")
    assert role_code(tmp_path) != before


def test_modes_do_not_depend_on_the_builders_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with plain_umask():
            (tmp_path / "folder").mkdir()
        assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755
        (tmp_path / "own").mkdir()
        assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
