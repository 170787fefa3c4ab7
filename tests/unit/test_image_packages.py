"""The index of fetched packages, and locks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.lock import Lock, exact, lock_file, locked, read_lock, require_current, require_same, write_lock
from hatfleet.image.locking import Change, changes
from hatfleet.image.packages import Package, write_index


def entry(name: str, content: bytes, version: str = "1.0") -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: arm64\nDepends: libc6\n"
        f"Filename: pool/main/{name}.deb\nSize: {len(content)}\nSHA256: {sha256}\nDescription: a thing\n more of it\n"
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "b_1.0_arm64.deb").write_bytes(b"bbb")
    (folder / "a_1%3a1.0_arm64.deb").write_bytes(b"a")
    return folder


def index(tmp_path: Path, *entries: str) -> Path:
    file = tmp_path / "main_Packages"
    file.write_text("\n".join(entries))
    return file


def test_the_index_holds_just_what_was_fetched(repository: Path, tmp_path: Path) -> None:
    listed = index(tmp_path, entry("a", b"a", "1:1.0"), entry("b", b"bbb"), entry("c", b"c"))
    found = write_index(repository, [listed])
    assert [(package.name, package.version, package.size_bytes) for package in found] == [
        ("a", "1:1.0", 1),
        ("b", "1.0", 3),
    ]
    written = (repository / "Packages").read_text()
    assert written.count("Package: ") == 2
    assert "Filename: ./a_1%3a1.0_arm64.deb" in written
    assert "pool/" not in written
    assert "Description: a thing\n more of it\n" in written
    assert "\n\nPackage: b" in written


def test_a_package_that_no_index_knows_is_refused(repository: Path, tmp_path: Path) -> None:
    listed = index(tmp_path, entry("a", b"a", "1:1.0"), entry("b", b"bbx"))
    with pytest.raises(HatfleetError, match=r"b_1\.0_arm64\.deb is not what the archive's index says"):
        write_index(repository, [listed])


A = Package("a", "1.0", "arm64", "0" * 64, 1)
B = Package("b", "2.0", "all", "1" * 64, 2)


def a_lock(*packages: Package, suite: str = "trixie", wanted: tuple[str, ...] = ("a",)) -> Lock:
    return Lock(
        suite=suite, arch="arm64", wanted=wanted, packages=locked(packages), tools_arch="amd64", tools=locked([B])
    )


def test_a_lock_reads_back(tmp_path: Path) -> None:
    recipe = tmp_path / "edge.yaml"
    made = a_lock(A, B)
    assert read_lock(recipe) is None
    assert write_lock(recipe, made) == tmp_path / "edge.lock.json" == lock_file(recipe)
    assert read_lock(recipe) == made
    assert made.digest != a_lock(A).digest
    assert exact(made.packages) == ("a=1.0", "b=2.0")


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "more": 2}', "[1"])
def test_what_is_no_lock_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    lock_file(tmp_path / "edge.yaml").write_text(text)
    with pytest.raises(InputError, match=r"edge\.lock\.json: this is not a lock"):
        read_lock(tmp_path / "edge.yaml")


def test_a_lock_for_other_packages_is_not_used(tmp_path: Path) -> None:
    recipe = tmp_path / "edge.yaml"
    require_current(a_lock(A), recipe, suite="trixie", arch="arm64", wanted=("a",))
    with pytest.raises(InputError, match=r"asks for other packages than its lock: \+b -a"):
        require_current(a_lock(A), recipe, suite="trixie", arch="arm64", wanted=("b",))
    with pytest.raises(InputError, match="is for trixie on arm64, the recipe for bookworm on arm64"):
        require_current(a_lock(A), recipe, suite="bookworm", arch="arm64", wanted=("a",))


def test_another_file_under_a_locked_name_is_refused() -> None:
    other = Package("a", "1.0", "arm64", "f" * 64, 1)
    require_same([A, B], a_lock(A, B).packages)
    for fetched in ([other, B], [A], [A, B, Package("c", "1", "all", "2" * 64, 1)]):
        with pytest.raises(HatfleetError, match="not what the lock says"):
            require_same(fetched, a_lock(A, B).packages)


def test_changes_between_locks_are_listed_by_name() -> None:
    newer = Package("a", "1.1", "arm64", "3" * 64, 1)
    assert changes(a_lock(A), a_lock(newer, B)) == (Change("a", "1.0", "1.1"), Change("b", None, "2.0"))
    assert changes(a_lock(A, B), a_lock(A)) == (Change("b", "2.0", None),)
    assert changes(a_lock(A), a_lock(A)) == ()
