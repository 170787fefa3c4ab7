"""Environments put together from tiny wheels, completed and run by the Python of this machine."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.site import Site
from hatfleet.runtimes import hatserve, store
from hatfleet.runtimes.compose import compose, pack, site_packages, tree_bytes
from hatfleet.runtimes.environment import BACKENDS, FINISH, Environment, declared
from hatfleet.runtimes.lock import Lock, LockedWheel, write_lock
from hatfleet.runtimes.parts import ANY, LEFT_OUT, left_out
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel
from tests.unit.wheels import make_wheel, use_hatserve, use_index

#: The Python that runs the tests.
HERE = Target("amd64", f"{sys.version_info[0]}.{sys.version_info[1]}")
PACKAGES = site_packages(HERE)

FILES = {
    "fast/__init__.py": "def answer():\n    return {'a', 'b', 'c', 'd'}\n",
    "fast/py2.py": "print 'old'\n",
    "fast/tests/test_all.py": "",
    "fast/__init__.pyi": "",
    "fast/include/fast.h": "",
    "fast-1.0.data/scripts/fastctl": "#!python\n",
    "fast-1.0.dist-info/licenses/tests/LICENSE": "as you like\n",
    "fast-1.0.dist-info/entry_points.txt": "[console_scripts]\nfast = fast:answer\n",
}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Wheel]:
    """hatserve and a package; the cache is the test's own."""
    use_index(tmp_path, monkeypatch)
    project = use_hatserve(tmp_path, monkeypatch, ["fast"])
    made = tmp_path / "made"
    return [Wheel(make_wheel(made, "fast", files=FILES)), Wheel(hatserve.build_wheel(project, made))]


def composed(folder: Path, wheels: Sequence[Wheel], *, finished: bool = False, system: bool = False) -> Path:
    root = folder / "tree"
    compose(root, HERE, wheels, prefix=str(root), system=system)
    if finished:
        subprocess.run([sys.executable, "-I", FINISH, root, root], check=True)
    return root


def untrue(root: Path) -> list[str]:
    """Return what RECORD says and is not so, or is there and RECORD does not say."""
    packages = root / PACKAGES
    wrong, known = [], {"../../../pyvenv.cfg", "../../../bin/python3"}
    for record in packages.glob("*.dist-info/RECORD"):
        for name, digest, size in csv.reader(record.read_text().splitlines()):
            known.add(name)
            if not digest:
                continue
            content = (packages / name).read_bytes() if (packages / name).is_file() else b""
            found = "sha256=" + urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if (found, str(len(content))) != (digest, size):
                wrong.append(name)
    there = {str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file()}
    there |= {f"../../../{path.relative_to(root)}" for path in (*root.glob("bin/*"), *root.glob("*")) if path.is_file()}
    return wrong + sorted(there - known)


def test_an_environment_runs_hatserve_and_finds_its_packages(tmp_path: Path, wheels: list[Wheel]) -> None:
    root = composed(tmp_path, wheels, finished=True)
    (root / "bin" / "python3").unlink()
    (root / "bin" / "python3").symlink_to(sys.executable)
    done = subprocess.run([root / "bin" / "hatserve"], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    code = "import fast, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], fast.__file__, sys.prefix)"
    done = subprocess.run(
        [root / "bin" / "python3", "-I", "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", str(root / PACKAGES / "fast" / "__init__.py"), str(root)]


def test_only_what_a_device_needs_is_there_and_licences_always(tmp_path: Path, wheels: list[Wheel]) -> None:
    root = composed(tmp_path, wheels)
    names = {str(path.relative_to(root / PACKAGES)) for path in (root / PACKAGES / "fast").rglob("*") if path.is_file()}
    assert names == {"fast/__init__.py", "fast/py2.py"}
    assert (root / PACKAGES / "fast-1.0.dist-info" / "licenses" / "tests" / "LICENSE").is_file()
    assert sorted(path.name for path in (root / "bin").iterdir()) == ["hatserve", "python3"]


@pytest.mark.parametrize("finished", [False, True])
def test_record_says_what_is_there(tmp_path: Path, wheels: list[Wheel], *, finished: bool) -> None:
    root = composed(tmp_path, wheels, finished=finished)
    assert untrue(root) == []
    (root / PACKAGES / "fast" / "stray.py").touch()
    (root / "bin" / "hatserve").write_text("")
    assert untrue(root) == ["../../../bin/hatserve", "fast/stray.py"]


def test_modules_are_compiled_alike_every_time_and_one_that_does_not_compile_is_left(
    tmp_path: Path, wheels: list[Wheel]
) -> None:
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        compose(root, HERE, wheels)
        subprocess.run([sys.executable, "-I", FINISH, root, "/opt/hatserve"], check=True)
    contents = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()} for root in roots
    ]
    assert contents[0] == contents[1]
    compiled = [path.name.split(".")[0] for path in roots[0].rglob("fast/__pycache__/*.pyc")]
    assert compiled == ["__init__"]
    (code,) = roots[0].rglob("fast/__pycache__/*.pyc")
    # PEP 552: bit 0 says that it goes by a hash, bit 1 that the hash is to be compared.
    assert int.from_bytes(code.read_bytes()[4:8], "little") == 1
    assert b"/opt/hatserve/lib" in code.read_bytes()


def test_the_archive_depends_on_nothing_but_the_tree(tmp_path: Path, wheels: list[Wheel]) -> None:
    root = composed(tmp_path, wheels)
    pack(root, tmp_path / "one")
    (root / "pyvenv.cfg").touch()
    (root / "bin").chmod(0o700)
    pack(root, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, hatserve.EPOCH_S)}
    assert {oct(member.mode) for member in members if not member.issym()} == {"0o755", "0o644"}
    assert [member.name for member in members if member.mode == 0o755 and member.isfile()] == ["./bin/hatserve"]


def test_debians_own_packages_are_seen_only_where_that_is_asked_for(tmp_path: Path, wheels: list[Wheel]) -> None:
    assert not (composed(tmp_path, wheels) / PACKAGES / "hatfleet_system.pth").exists()
    other = tmp_path / "other"
    root = composed(other, wheels, system=True)
    assert (root / PACKAGES / "hatfleet_system.pth").read_text() == "/usr/lib/python3/dist-packages\n"
    assert untrue(root) == []


@pytest.mark.parametrize(
    ("files", "broken", "message"),
    [
        ({"fast/__init__.py": ""}, "fast/__init__.py", "damaged.*didn't match RECORD"),
        ({"../../evil.py": ""}, "", "outside of site-packages"),
        ({"/etc/evil": ""}, "", "the wheel is damaged"),
        ({"fast-1.0.data/data/etc/evil": ""}, "", "outside of site-packages"),
        ({"hatserve/__init__.py": ""}, "", "hatserve/__init__.py is in two wheels"),
    ],
)
def test_a_wheel_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, wheels: list[Wheel], files: dict[str, str], broken: str, message: str
) -> None:
    bad = Wheel(make_wheel(tmp_path / "bad", "fast", files=files, broken=broken))
    with pytest.raises(HatfleetError, match=message):
        compose(tmp_path / "tree", HERE, [wheels[1], bad])


def test_what_is_no_wheel_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "fast-1.0-py3-none-any.whl").write_text("no zip")
    with pytest.raises(HatfleetError, match="no wheel, or a damaged one"):
        _ = Wheel(tmp_path / "fast-1.0-py3-none-any.whl").requires
    with pytest.raises(HatfleetError, match="this is no wheel"):
        _ = Wheel(tmp_path / "fast.whl").name


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: whatever\n", "MIT"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD License"),
        ("License: Apache 2.0\n", "Apache 2.0"),
        ("License: Apache\n   the whole\n   text\n", ""),
        ("", ""),
    ],
)
def test_a_licence_is_read_where_the_wheel_says_it(tmp_path: Path, metadata: str, licence: str) -> None:
    assert Wheel(make_wheel(tmp_path, "fast", metadata=metadata)).licence == licence


def test_every_part_that_is_left_out_has_a_reason_and_no_licence_is_one() -> None:
    assert all(len(part.reason) > 10 and part.patterns for part in LEFT_OUT)
    assert left_out("numpy", "numpy/_core/tests/test_x.py")
    assert not left_out("numpy", "numpy-2.0.dist-info/licenses/numpy/tests/LICENSE")
    assert not left_out("onnxruntime", "ai_edge_litert/aot/x.py")
    assert {part.package for part in LEFT_OUT} == {ANY, "ai-edge-litert", "onnxruntime", "numpy"}


@pytest.fixture
def environment(tmp_path: Path, wheels: list[Wheel]) -> Environment:
    store.put(wheels[0].path, wheels[0].sha256)
    locked = LockedWheel("fast", "1.0", wheels[0].sha256, ("hatserve",))
    return Environment(HERE, (locked,), ("onnx",), hatserve.source())


def test_an_environment_is_known_before_it_is_made_and_made_once(tmp_path: Path, environment: Environment) -> None:
    assert environment.about == "fast 1.0"
    assert not (tmp_path / "cache" / "hatfleet" / "environments").exists()
    first = environment.file()
    before = first.stat().st_ino
    assert environment.file().stat().st_ino == before
    assert environment.about == "fast 1.0, 0 MiB"
    with tarfile.open(first) as archive:
        assert environment.unpacked_bytes() == sum(member.size for member in archive if member.isfile())


def test_everything_that_goes_in_makes_another_environment(tmp_path: Path, environment: Environment) -> None:
    (wheel,) = environment.wheels
    others = [
        replace(environment, backends=("litert", "onnx")),
        replace(environment, prefix="/opt/other"),
        replace(environment, wheels=(replace(wheel, sha256="0" * 64),)),
        replace(environment, target=Target("arm64", "3.13")),
    ]
    before = environment.digest
    (environment.source / "src" / "hatserve" / "new.py").write_text("")
    others.append(replace(environment, wheels=(wheel,)))
    assert len({before, *(one.digest for one in others)}) == 6


def test_few_archives_are_kept(tmp_path: Path, environment: Environment) -> None:
    for number in range(6):
        replace(environment, prefix=f"/opt/{number}").file()
    assert len(list((tmp_path / "cache" / "hatfleet" / "environments").glob("*.tar.gz"))) == 4


def test_a_backend_whose_package_is_not_locked_is_named(tmp_path: Path, environment: Environment) -> None:
    target = Target("arm64", "3.13")
    write_lock(tmp_path / "runtimes" / "arm64-py3.13.lock", Lock(target, ("fast",), environment.wheels))
    assert declared(Site(tmp_path), target, ["hailo"]).wheels == environment.wheels
    with pytest.raises(InputError, match="has no onnxruntime, which the backend onnx needs"):
        declared(Site(tmp_path), target, ["onnx"])
    assert set(BACKENDS) == {"onnx", "litert", "hailo"}


def test_the_size_is_that_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to("a")
    assert tree_bytes(tmp_path) == 3
