"""The real wheels: those locked for devices, and an environment for this machine in which models run.

pip downloads them once into the cache of the user, from the package index that it is configured for.
"""

from __future__ import annotations

import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site, package_content
from hatfleet.image.machine import host_arch
from hatfleet.runtimes import hatserve, store
from hatfleet.runtimes.compose import site_packages
from hatfleet.runtimes.environment import BUDGET_BYTES, FINISH, Environment, declared
from hatfleet.runtimes.parts import ANY, LEFT_OUT, Part, left_out
from hatfleet.runtimes.pip import existing
from hatfleet.runtimes.resolve import resolve
from hatfleet.runtimes.target import PYTHONS, Target
from hatfleet.runtimes.wheel import Wheel
from roles.runtimes.checks import RUN_MODEL
from tests.models.tiny import tflite_model

PI = Target("arm64", "3.13")

#: e_machine of an ELF file (EM_AARCH64 in elf.h).
AARCH64 = 183

#: How long telemetry gets to send what it has, seconds: the first packets of onnxruntime 1.31 come within 20.
PATIENCE_S = 30

#: Runs the model in a file, whose inputs are rows of two numbers.
RUN_LITERT = """
import sys, numpy
from ai_edge_litert.interpreter import Interpreter
run = Interpreter(model_path=sys.argv[1])
run.allocate_tensors()
for tensor in run.get_input_details():
    run.set_tensor(tensor["index"], numpy.ones((1, 2), numpy.float32))
run.invoke()
print(run.get_tensor(run.get_output_details()[0]["index"]).tolist())
"""


@pytest.fixture(scope="module")
def locked() -> Environment:
    """The environment of a device, from the lock that comes with hatfleet."""
    return declared(Site(package_content()), PI, ["onnx", "litert"])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment for this machine and Debian's Python on it, complete, from wheels chosen now."""
    version = subprocess.run(["/usr/bin/python3", "--version"], capture_output=True, text=True, check=True).stdout
    python = ".".join(version.split()[1].split(".")[:2])
    assert python in PYTHONS, f"this machine has Python {python}"
    target = Target(host_arch(), python)
    prefix = tmp_path_factory.mktemp("opt") / "hatserve"
    wheels = resolve(target, hatserve.requirements(hatserve.source())).wheels
    environment = Environment(target, wheels, ("litert", "onnx"), hatserve.source(), str(prefix))
    prefix.mkdir()
    subprocess.run(["tar", "-xzf", environment.file(), "-C", prefix], check=True)
    subprocess.run(["/usr/bin/python3", "-I", FINISH, prefix, prefix], check=True)
    assert not (prefix / site_packages(target) / "ai_edge_litert" / "libLiteRtWebGpuAccelerator.so").exists()
    yield prefix
    environment.file().unlink()


def test_wheels_of_the_lock_make_an_environment_within_the_budget(locked: Environment) -> None:
    assert 0 < locked.unpacked_bytes() <= BUDGET_BYTES
    with tarfile.open(locked.file()) as archive:
        names = [member.name for member in archive if member.isfile()]
        programs = [name for name in names if name.endswith(".so") or ".so." in name]
        headers = [handle.read(20) for name in programs if (handle := archive.extractfile(name))]
    assert len(headers) == len(programs) > 20
    assert {(header[:4], int.from_bytes(header[18:20], "little")) for header in headers} == {(b"\x7fELF", AARCH64)}
    assert not [name for name in names if name.endswith(("/pip/__init__.py", ".a", ".h", ".pyi")) or "/tests/" in name]


@pytest.mark.parametrize("part", LEFT_OUT, ids=lambda part: part.patterns[0])
def test_every_part_that_is_left_out_is_in_a_wheel_of_the_lock(locked: Environment, part: Part) -> None:
    for pattern in part.patterns:
        alone = Part(part.package, (pattern,), part.reason)
        wheels = [wheel for wheel in store.fetch(PI, locked.wheels) if part.package in (wheel.name, ANY)]
        assert any(_matches(alone, wheel) for wheel in wheels), f"{pattern} is in no wheel any more"


def _matches(part: Part, wheel: Wheel) -> bool:
    with zipfile.ZipFile(wheel.path) as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("hatfleet.runtimes.parts.LEFT_OUT", (part,))
        return any(left_out(wheel.name, name) for name in archive.namelist())


def test_hatserve_starts_from_anywhere_and_says_its_version(here: Path) -> None:
    done = subprocess.run([here / "bin" / "hatserve", "--version"], cwd="/", env={}, capture_output=True, check=True)
    assert done.stdout.startswith(b"hatserve ")


def test_both_runtimes_run_a_model_without_what_was_left_out(here: Path, tmp_path: Path) -> None:
    model = tmp_path / "add.tflite"
    model.write_bytes(tflite_model(width=2))
    for code in (RUN_MODEL, RUN_LITERT):
        command = [here / "bin" / "python3", "-I", "-c", code, model]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        assert done.stdout == "[[2.0, 2.0]]\n", done.stderr


def alone(here: Path, home: Path, *, telemetry: bool) -> tuple[int, list[str]]:
    """Run a model where every packet is counted; return how many were sent, and what was written into the home."""
    switch = 'os.environ.pop("ORT_DISABLE_TELEMETRY")' if telemetry else ""
    code = f"import os, time\n{switch}\n{RUN_MODEL}time.sleep({PATIENCE_S})"
    script = (
        "ip link set lo up && ip route add default dev lo && "
        f"env -i HOME={shlex.quote(str(home))} {here}/bin/python3 -I -c {shlex.quote(code)} && "
        "sed -n 's/^ *lo: *//p' /proc/net/dev"
    )
    done = subprocess.run(["unshare", "-rn", "sh", "-c", script], capture_output=True, text=True, check=True)
    result, counters = done.stdout.splitlines()
    assert result == "[[2.0, 2.0]]"
    return int(counters.split()[9]), sorted(path.name for path in home.rglob("*") if path.is_file())


def test_no_packet_leaves_and_without_the_switch_some_would(here: Path, tmp_path: Path) -> None:
    homes = [tmp_path / "off", tmp_path / "on"]
    for home in homes:
        home.mkdir()
    with ThreadPoolExecutor() as pool:
        runs = pool.map(lambda home: alone(here, home, telemetry=home.name == "on"), homes)
        (packets, files), (packets_on, files_on) = runs
    assert (packets, files) == (0, [])
    assert packets_on > 0, "the counter sees nothing: this test proves nothing"
    assert "deviceid" in files_on


def test_a_package_without_wheels_for_the_device_is_named_with_those_there_are(tmp_path: Path) -> None:
    """tflite-runtime, the predecessor of LiteRT, ended with Python 3.11."""
    assert any("cp311 manylinux_2_34_aarch64" in kind for kind in existing("tflite-runtime", PI, tmp_path))
    with pytest.raises(
        InputError, match=r"no wheel of tflite-runtime for arm64 and Python 3\.13: there is 2\.14\.0 for"
    ):
        resolve(PI, [Requirement("tflite-runtime")])
