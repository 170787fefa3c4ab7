"""The role runtimes: what it declares, and the program that verifies an environment's files, on a tiny one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hatfleet.common.site import Site, active_site, package_content
from hatfleet.compliance.marks import control_of
from hatfleet.ops.reads import ShellRead
from hatfleet.runtimes import hatserve
from hatfleet.runtimes.compose import compose, site_packages
from hatfleet.runtimes.environment import BACKENDS, FINISH
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel
from roles.runtimes import checks, environments, image, packages
from roles.runtimes.settings import Settings
from tests.fleet.damage_runtimes import DAMAGE
from tests.unit.target import LocalTarget, declared
from tests.unit.wheels import make_wheel, use_hatserve, use_index

ROLE = package_content() / "roles" / "runtimes"
VERIFY = ROLE / "files" / "verify.py"

CONTROLS = {
    mark.id for value in vars(importlib.import_module("roles.runtimes.checks")).values() if (mark := control_of(value))
}

HERE = Target("amd64", f"{sys.version_info[0]}.{sys.version_info[1]}")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of hatserve and one package, complete."""
    use_index(tmp_path, monkeypatch)
    project = use_hatserve(tmp_path, monkeypatch, [])
    root = tmp_path / "tree"
    wheels = [make_wheel(tmp_path / "made", "fast-er"), hatserve.build_wheel(project, tmp_path / "made")]
    compose(root, HERE, [Wheel(path) for path in wheels])
    subprocess.run([sys.executable, "-I", FINISH, root, "/opt/hatserve"], check=True)
    return root


def verified(root: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-I", VERIFY, root], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_complete_environment_has_no_problem_and_says_its_versions(tree: Path) -> None:
    (tree / ".hatfleet-tree").touch()
    assert verified(tree) == {"versions": {"fast-er": "1.0", "hatserve": "0.1"}, "problems": []}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("echo >>@/fast_er/__init__.py", "fast_er/__init__.py: altered"),
        ("rm @/fast_er/__init__.py", "fast_er/__init__.py: missing"),
        ("rm @/fast_er/__pycache__/*.pyc", ".pyc: missing"),
        ("for f in @/fast_er/__pycache__/*.pyc; do echo >>$f; done", ".pyc: altered"),
        ("ln -sf /etc/passwd @/fast_er/__init__.py", "fast_er/__init__.py: missing"),
        ("touch @/stray.pth", "stray.pth: in no RECORD"),
        ("ln -s /etc @/stray", "stray: in no RECORD"),
        ("touch bin/pip", "bin/pip: in no RECORD"),
        ("echo >>bin/hatserve", "bin/hatserve: altered"),
        ("rm @/hatfleet_telemetry.pth", "hatfleet_telemetry.pth: missing"),
        ("ln -sf /usr/bin/env bin/python3", "bin/python3: not a link to /usr/bin/python3"),
        ("sed -i 's/sha256=[^,]*//' @/fast_er-1.0.dist-info/RECORD", "without a digest in RECORD"),
        ("rm -r @/fast_er-1.0.dist-info", "fast_er/__init__.py: in no RECORD"),
        ("rm -r lib", "has 0 folders of packages, wanted one"),
    ],
)
def test_any_change_of_a_file_is_named(tree: Path, damage: str, problem: str) -> None:
    subprocess.run(["sh", "-c", damage.replace("@", site_packages(HERE))], cwd=tree, check=True)
    assert any(problem in found for found in verified(tree)["problems"])


def operations(settings: Settings | None = None) -> dict[str, Any]:
    return {one.kind + " " + one.name: one for one in declared(lambda: image(settings or Settings()))}


def test_the_environment_of_the_lock_is_laid_down_and_telemetry_is_off_everywhere() -> None:
    found = operations()
    laid = found["tree Python environment"]
    assert laid.arguments["path"] == "/opt/hatserve"
    assert laid.arguments["archive"].digest == environments(Settings())[0].digest
    texts = {one.arguments["path"]: one.arguments["content"] for one in found.values() if one.kind == "file"}
    assert len(texts) == 3
    assert all("ORT_DISABLE_TELEMETRY=1" in text for text in texts.values())


def test_backends_that_are_not_declared_leave_their_packages_out() -> None:
    def names(*backends: str) -> set[str]:
        (one,) = environments(Settings.model_validate({"backends": backends}))
        return {wheel.name for wheel in one.wheels}

    assert "ai-edge-litert" not in names("onnx")
    assert "ml-dtypes" not in names("onnx")
    assert "onnxruntime" not in names("litert", "hailo")
    assert names("hailo") >= {"numpy"}
    assert set(checks.MODULES) == set(BACKENDS)


@pytest.mark.parametrize(
    "value", [{"backends": []}, {"backends": ["tensorrt"]}, {"python": "3.12"}, {"python": 3.13}, {"arch": "aarch64"}]
)
def test_only_what_there_is_can_be_set(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(value)


@pytest.mark.parametrize(
    ("python", "arch", "said"),
    [
        ("python3.13", "arm64", []),
        ("python3.11", "arm64", ["python3.11 on arm64"]),
        ("python3.13", "armhf", ["python3.13 on armhf"]),
        (None, "arm64", []),
    ],
)
def test_a_device_with_another_python_or_processor_is_refused_before_anything_is_changed(
    tmp_path: Path, python: str | None, arch: str, said: list[str]
) -> None:
    script: str = operations()["require the device's Python"].arguments["script"]
    if python:
        (tmp_path / "python3").symlink_to(python)
    (tmp_path / "dpkg").write_text(f"#!/bin/sh\necho {arch}\n")
    (tmp_path / "dpkg").chmod(0o755)
    here = script.replace("/usr/bin/python3", f"{tmp_path}/python3").replace("dpkg ", f"{tmp_path}/dpkg ")
    assert LocalTarget().ask(ShellRead(here)) == [said]


def test_the_packages_are_those_of_a_device_and_nothing_that_compiles() -> None:
    assert "python3" in packages(Settings())
    assert not [name for name in packages(Settings()) if name.endswith(("-dev", "gcc", "pip", "venv"))]


def test_a_role_finds_the_site_that_it_was_loaded_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hatfleet.common.site._active", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert active_site() == Site(tmp_path)
    (tmp_path / "other").mkdir()
    Site(tmp_path / "other").activate()
    assert active_site() == Site(tmp_path / "other")


def test_each_damage_names_controls_of_this_role() -> None:
    assert len(DAMAGE) >= 5
    assert {control for damage in DAMAGE for control in damage.controls} <= CONTROLS


def test_the_reference_lists_every_control_and_setting() -> None:
    text = (package_content() / "docs" / "reference" / "runtimes.md").read_text()
    assert [word for word in (*CONTROLS, *Settings.model_fields) if word not in text] == []


class Answers:
    """A stand-in for a device: answers commands by a part of them; others succeed and print nothing."""

    def __init__(self, answers: dict[str, str]) -> None:
        self._answers = answers

    def run(self, command: str) -> Any:
        text = next((text for part, text in self._answers.items() if part in command), "")
        return type("Result", (), {"rc": 0, "stdout": text, "stderr": ""})

    def check_output(self, command: str) -> str:
        return str(self.run(command).stdout)


@pytest.mark.parametrize(
    ("check", "answers"),
    [
        (checks.test_files, {"/usr/bin/python3": '{"problems": ["/opt/hatserve/x: altered"]}'}),
        (checks.test_no_installer, {"find": "/opt/hatserve/lib/python3.13/site-packages/pip\n"}),
        (checks.test_no_compiler, {"command -v": "/usr/bin/gcc\n"}),
        (checks.test_owner, {"find": "/opt/hatserve/x 666 root:root\n", "stat": "root 755\n"}),
        (checks.test_owner, {"stat": "admin 755\n"}),
        (checks.test_telemetry_of_the_environment, {"-c": "None\n"}),
        (checks.test_telemetry_of_the_environment, {"-c": "1\n"}),
        (checks.test_telemetry_elsewhere, {}),
        (checks.test_telemetry_of_services, {"systemctl": "A=1\n"}),
    ],
)
def test_each_check_can_fail(check: Callable[..., None], answers: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        check(Answers(answers))


@pytest.mark.parametrize("said", ["", "[[2.0, 2.0]]\npackets 8\n", "[[2.0, 2.0]]\npackets 0\nwrote /tmp/x/id\n"])
def test_a_packet_a_file_or_no_result_fails_the_check(said: str) -> None:
    checks.test_no_packet(Answers({"unshare": "[[2.0, 2.0]]\npackets 0\n"}), Settings())
    with pytest.raises(AssertionError):
        checks.test_no_packet(Answers({"unshare": said}), Settings())
