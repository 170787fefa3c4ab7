"""The command line: every bad input ends in one clear error, exit code 2, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hatfleet.common.errors import PRECEDENCE, ExitCode, worst

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with one host that has never been reached."""
    folder = tmp_path / "site"
    (folder / "inventory" / "one").mkdir(parents=True)
    (folder / "inventory" / "one" / "hosts.yaml").write_text(
        "all:\n  hosts:\n    edge-01:\n      ansible_host: 127.0.0.1\n      ansible_user: admin\n"
        "  vars:\n    base:\n      admin:\n        authorized_keys:\n"
        "          - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUjfbQ3jVJdGZ0wV0W8n5xqkTVdQkqNHwD1WJGZ9mYs test\n"
    )
    return folder


@pytest.fixture
def provision(site: Path, tmp_path: Path) -> Run:
    """Run the command line in the site, as a user would."""

    def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        if path is not None:
            environment["PATH"] = path
        command = [str(Path(sys.executable).parent / "provision"), *arguments]
        done = subprocess.run(
            command, cwd=site, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def hosts_file(site: Path) -> Path:
    return site / "inventory" / "one" / "hosts.yaml"


def test_missing_inventory(provision: Run) -> None:
    done = provision("plan", "-i", "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_yaml_syntax_error_names_the_line(site: Path, provision: Run) -> None:
    hosts_file(site).write_text("all:\n  hosts:\n   - [broken\n")
    done = provision("plan")
    assert done.returncode == 2
    assert "hosts.yaml:" in done.stderr


def test_duplicate_key_names_the_line(site: Path, provision: Run) -> None:
    hosts_file(site).write_text("all:\n  hosts:\n    a:\n    b:\n    a:\n")
    done = provision("plan")
    assert done.returncode == 2
    assert "hosts.yaml:5" in done.stderr


def test_unknown_host_in_limit_offers_the_nearest(provision: Run) -> None:
    done = provision("plan", "-l", "edge-10")
    assert done.returncode == 2
    assert "edge-01" in done.stderr


def test_unknown_role_offers_the_nearest(provision: Run) -> None:
    done = provision("apply", "-r", "hardne")
    assert done.returncode == 2
    assert "did you mean 'harden'" in done.stderr


def test_all_wrong_settings_are_named_at_once(site: Path, provision: Run) -> None:
    folder = site / "inventory" / "one" / "group_vars"
    folder.mkdir()
    (folder / "all.yaml").write_text("governor:\n  scaling_governr: performance\n  scaling_governor: fast\n")
    done = provision("apply")
    assert done.returncode == 2
    assert "all.yaml:2" in done.stderr
    assert "all.yaml:3" in done.stderr
    assert "performance" in done.stderr
    assert "2 errors" in done.stderr


def test_unreadable_key_file(site: Path, provision: Run) -> None:
    text = hosts_file(site).read_text().replace("ansible_user: admin", "ansible_ssh_private_key_file: keys/none")
    hosts_file(site).write_text(text)
    done = provision("plan")
    assert done.returncode == 2
    assert "keys/none" in done.stderr


@pytest.mark.parametrize(("key", "value"), [("platform", "rpi9"), ("suite", "buzz")])
def test_recipe_with_an_unknown_platform_or_suite(site: Path, provision: Run, key: str, value: str) -> None:
    recipe = {"name": "mine", "version": "1.0.0", "platform": "virt", "suite": "trixie", "deploy": "image", key: value}
    (site / "images").mkdir()
    (site / "images" / "mine.yaml").write_text("".join(f"{name}: {text}\n" for name, text in recipe.items()))
    done = provision("image", "build", "images/mine.yaml")
    assert done.returncode == 2
    assert value in done.stderr
    assert "mine.yaml:" in done.stderr


def test_missing_mmdebstrap_names_the_package(provision: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = provision("image", "build", "edge-virt", path=str(empty))
    if done.returncode == 0 or "mmdebstrap" not in done.stderr:
        pytest.skip("tools are found in the sbin directories of this machine")
    assert done.returncode == 2


def test_unknown_host_key_is_unreachable(provision: Run) -> None:
    done = provision("apply")
    assert done.returncode == 3
    assert "host key" in done.stdout + done.stderr


def test_usage_errors_are_bad_input(provision: Run) -> None:
    assert provision("apply", "--no-such-option").returncode == 2
    assert provision("no-such-command").returncode == 2


@pytest.mark.parametrize(
    "command", ["init", "inventory", "trust", "plan", "apply", "check", "report", "completion", "image", "lab"]
)
def test_help_teaches(provision: Run, command: str) -> None:
    shown = provision(command, "--help")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) > 6
    assert command in provision("--help").stdout


def test_exit_codes_are_in_the_help(provision: Run) -> None:
    shown = provision("--help").stdout
    assert all(f"{code.value} " in shown for code in (*PRECEDENCE, ExitCode.OK))


def test_the_gravest_outcome_decides() -> None:
    assert worst([]) is ExitCode.OK
    assert worst([ExitCode.OK, ExitCode.NEEDS_IMAGE, ExitCode.UNREACHABLE]) is ExitCode.UNREACHABLE
    assert worst([ExitCode.UNREACHABLE, ExitCode.FAILED]) is ExitCode.FAILED
    assert worst([ExitCode.CHECK_FAILED, ExitCode.NEEDS_IMAGE]) is ExitCode.CHECK_FAILED
