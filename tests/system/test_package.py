"""The package as a user installs it: content travels in the wheel, and a site works from any directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*build, ROOT], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_carries_roles_deploys_recipes_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = ["roles/base/checks.py", "roles/harden/settings.py", "deploys/site.py", "images/edge-virt.yaml"]
    # hatserve's wheel for the devices is made from these.
    wanted += ["runtimes/arm64-py3.13.lock", "hatserve/pyproject.toml", "hatserve/README.md"]
    wanted += ["hatserve/src/hatserve/cli/main.py", "hatserve/src/hatserve/py.typed"]
    assert {f"hatfleet/_content/{name}" for name in wanted} | {"hatfleet/py.typed"} <= names
    assert "hatfleet/runtimes/files/finish.py" in names
    assert not [name for name in names if name.endswith(".pyc")]
    assert not [name for name in names if name.startswith(("tests/", "roles/", "bench/"))]


def test_installed_package_makes_a_site_that_works(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def provision(*arguments: str, cwd: Path) -> str:
        command = [sys.executable, "-P", "-m", "hatfleet.cli.main", *arguments]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    provision("init", "mysite", cwd=tmp_path)
    assert "edge-01" in provision("inventory", cwd=tmp_path / "mysite")
    assert "HF-HARDEN-001" in provision("check", "--list", cwd=tmp_path / "mysite")
    role = tmp_path / "mysite" / "roles" / "governor"
    role.mkdir()
    (role / "settings.py").write_text(
        "from hatfleet.fleet.settings import RoleSettings\n\n\nclass Settings(RoleSettings):\n    ours: bool = True\n"
    )
    (tmp_path / "mysite" / "inventory" / "example" / "host_vars" / "edge-90.yaml").write_text(
        "governor: {ours: false}\n"
    )
    assert "ours" in provision("inventory", "--host", "edge-90", cwd=tmp_path / "mysite")
