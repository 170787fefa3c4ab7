from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.init import init
from hatfleet.cli.inventory import inventory
from hatfleet.common.errors import InputError
from hatfleet.common.site import Site, package_content


def run(folder: Path) -> Result:
    return CliRunner().invoke(init, [str(folder)])


def test_a_new_site_works_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "my site"
    result = run(site)
    assert result.exit_code == 0, result.output
    assert f"cd '{site}' && provision inventory" in result.stdout
    monkeypatch.chdir(site)
    shown = CliRunner().invoke(inventory, [])
    assert shown.exit_code == 0, shown.output
    assert "edge-01" in shown.stdout


def test_every_host_of_the_example_is_valid_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "site")
    monkeypatch.chdir(tmp_path / "site")
    shown = CliRunner().invoke(inventory, ["--host", "edge-01"])
    assert shown.exit_code == 0, shown.output
    assert "inventory/example/group_vars/production.yaml:4" in shown.stdout


def test_a_new_site_has_the_folders_and_recipes(tmp_path: Path) -> None:
    run(tmp_path / "site")
    found = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    recipes = {f"images/{path.name}" for path in (package_content() / "images").glob("*.yaml")}
    assert {".gitignore", "keys/README.md", "roles/README.md", "deploys/README.md"} | recipes <= found
    assert (tmp_path / "site" / "images").is_dir()
    assert not [name for name in found if "known_hosts" in name or "__pycache__" in name]


def test_a_new_site_may_be_the_empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(Path())
    assert result.exit_code == 0, result.output
    assert "cd " not in result.stdout
    assert Site.find().root == tmp_path


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    error = run(tmp_path).exception
    assert isinstance(error, InputError)
    assert "is not empty" in error.message
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    error = run(tmp_path / "site").exception
    assert isinstance(error, InputError)
    assert "is a file" in error.message


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = run(tmp_path / "file" / "site").exception
    assert isinstance(error, InputError)
    assert "cannot make a site" in error.message


def test_the_command_line_starts_in_a_new_site(tmp_path: Path) -> None:
    run(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "hatfleet.cli.main", "inventory", "--limit", "edge-9"],
        cwd=tmp_path / "site",
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown host or group 'edge-9'" in done.stderr
    assert "Traceback" not in done.stderr
