"""Locks of wheels: written, read again, and refused when they are not what is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site, package_content
from hatfleet.runtimes import hatserve
from hatfleet.runtimes.lock import Lock, LockedWheel, find_lock, parse, read_lock, write_lock
from hatfleet.runtimes.target import ARCHES, PYTHONS, Target

PI = Target("arm64", "3.13")

LOCK = Lock(
    PI,
    ("fast>=1", "lite"),
    (
        LockedWheel("common", "3", "0" * 64, ("fast", "lite")),
        LockedWheel("deep", "2.1", "1" * 64, ("lite-extra",)),
        LockedWheel("fast", "1.5", "2" * 64, ("hatserve",)),
        LockedWheel("lite", "2.0", "3" * 64, ("hatserve",)),
        LockedWheel("lite-extra", "1", "4" * 64, ("lite", "deep")),
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "runtimes" / "arm64-py3.13.lock"
    write_lock(path, LOCK)
    return path


def test_a_lock_is_read_as_it_was_written(file: Path) -> None:
    assert read_lock(file, PI, ["lite", "fast>=1"]) == LOCK
    assert "fast==1.5 \\\n    --hash=sha256:2222" in file.read_text()


def test_a_lock_older_than_the_requirements_names_what_differs(file: Path) -> None:
    with pytest.raises(InputError, match=r"older than what hatserve requires: \+new>=1 -fast>=1") as caught:
        read_lock(file, PI, ["lite", "new>=1"])
    assert caught.value.hint is not None
    assert "provision runtimes lock --arch arm64 --python 3.13" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("fast==1.5", "fast>=1.5", 10),
        ("--hash=sha256:2222", "--hash=md5:2222", 10),
        ("# Wheels", "# Something", 1),
        ("for arm64", "for amd64", 1),
        ("    # via hatserve\n", "", 10),
    ],
)
def test_a_line_that_was_changed_is_named(file: Path, old: str, new: str, line: int) -> None:
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match="this is no line of a lock") as caught:
        parse(file, PI)
    assert caught.value.where is not None
    assert caught.value.where.line == line


def test_a_lock_that_was_cut_off_or_is_no_text_is_refused(file: Path) -> None:
    text = file.read_text()
    file.write_text(text[:-10])
    with pytest.raises(InputError):
        parse(file, PI)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        parse(file, PI)


def test_a_missing_lock_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"for amd64 and Python 3\.11: there is .*arm64-py3\.13"):
        find_lock(Site(tmp_path), Target("amd64", "3.11"))


def test_the_lock_of_a_site_wins_over_that_of_the_package(file: Path, tmp_path: Path) -> None:
    assert find_lock(Site(tmp_path), PI) == file
    file.unlink()
    assert find_lock(Site(tmp_path), PI) == package_content() / "runtimes" / "arm64-py3.13.lock"


def test_a_package_that_is_not_used_leaves_with_what_only_it_needs() -> None:
    assert [wheel.name for wheel in LOCK.without(())] == ["common", "deep", "fast", "lite", "lite-extra"]
    assert [wheel.name for wheel in LOCK.without(("lite",))] == ["common", "fast"]
    assert [wheel.name for wheel in LOCK.without(("lite", "fast"))] == []


def test_the_lock_that_comes_with_hatfleet_is_not_older_than_what_hatserve_requires() -> None:
    requires = [str(one) for one in hatserve.requirements(hatserve.source())]
    lock = read_lock(package_content() / "runtimes" / "arm64-py3.13.lock", PI, requires)
    assert {"numpy", "onnxruntime", "ai-edge-litert"} <= {wheel.name for wheel in lock.wheels}
    assert not {"pip", "setuptools", "wheel", "tflite-runtime"} & {wheel.name for wheel in lock.wheels}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_target_has_tags_and_markers(arch: str, python: str) -> None:
    target = Target(arch, python)
    assert target.platforms[-1] == f"manylinux2014_{target.machine}"
    assert target.markers["python_version"] == python


def test_requirements_that_are_none_are_refused_with_their_file(tmp_path: Path) -> None:
    for text in ("", "[project]\n", '[project]\ndependencies = ["not a requirement"]\n', "="):
        (tmp_path / "pyproject.toml").write_text(text)
        with pytest.raises(InputError, match="requirements cannot be read"):
            hatserve.requirements(tmp_path)
