"""Choosing wheels for another machine, by the real pip from a folder of tiny wheels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.runtimes import store
from hatfleet.runtimes.lock import Lock, LockedWheel
from hatfleet.runtimes.resolve import changes, resolve
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel
from tests.unit.wheels import ARM64, make_wheel, use_index

PI = Target("arm64", "3.13")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_index(tmp_path, monkeypatch)


def locked(*requirements: str, keep: tuple[LockedWheel, ...] = ()) -> Lock:
    return resolve(PI, [Requirement(one) for one in requirements], keep)


def pins(lock: Lock) -> list[str]:
    return [wheel.pinned for wheel in lock.wheels]


def test_wheels_of_the_target_are_chosen_and_not_those_of_this_machine(index: Path) -> None:
    wanted = make_wheel(index, "fast", "1.1", tag=ARM64)
    make_wheel(index, "fast", "1.1", tag="cp311-cp311-manylinux_2_28_x86_64")
    make_wheel(index, "fast", "1.1", tag="cp311-cp311-manylinux_2_28_aarch64")
    (wheel,) = locked("fast").wheels
    assert wheel == LockedWheel("fast", "1.1", Wheel(wanted).sha256, ("hatserve",))


@pytest.mark.parametrize(
    "tag",
    ["cp313-cp313-manylinux2014_aarch64", "cp313-cp313-manylinux_2_41_aarch64", "cp310-abi3-manylinux_2_17_aarch64"],
)
def test_tags_that_run_on_debian_13_fit(index: Path, tag: str) -> None:
    make_wheel(index, "fast", tag=tag)
    assert pins(locked("fast")) == ["fast==1.0"]


@pytest.mark.parametrize("tag", ["cp313-cp313-manylinux_2_42_aarch64", "cp313-cp313-musllinux_1_2_aarch64"])
def test_a_newer_or_another_c_library_does_not_fit(index: Path, tag: str) -> None:
    make_wheel(index, "fast", tag=tag)
    with pytest.raises(InputError, match=f"there is 1.0 for cp313 {tag.split('-')[2]}"):
        locked("fast")


def test_markers_are_those_of_the_target(index: Path) -> None:
    """pip takes them from the Python it runs on: 3.11 on this machine, or another processor."""
    only_here = 'here; platform_machine == "x86_64" or python_version == "3.11"'
    only_there = 'there; python_version == "3.13" and platform_machine == "aarch64"'
    make_wheel(index, "top", requires=[only_here, only_there])
    make_wheel(index, "here")
    make_wheel(index, "there", requires=["deep"])
    make_wheel(index, "deep")
    lock = locked("top")
    assert {wheel.name: wheel.via for wheel in lock.wheels} == {
        "deep": ("there",),
        "there": ("top",),
        "top": ("hatserve",),
    }


def test_a_version_that_only_the_target_needs_is_chosen(index: Path) -> None:
    make_wheel(index, "top", requires=["low<2", 'other>=2; python_version == "3.13"'])
    make_wheel(index, "low", requires=["other"])
    make_wheel(index, "other", "1.0")
    make_wheel(index, "other", "2.5")
    assert "other==2.5" in pins(locked("top", "other<2.6"))


def test_extras_are_followed_and_circles_end(index: Path) -> None:
    make_wheel(index, "top", requires=["more[fast]"])
    make_wheel(index, "more", requires=["speed; extra == 'fast'", "slow; extra == 'slow'", "top"])
    make_wheel(index, "speed", requires=["more[fast]"])
    assert pins(locked("top")) == ["more==1.0", "speed==1.0", "top==1.0"]


def test_versions_stay_unless_they_are_to_be_chosen_anew(index: Path) -> None:
    make_wheel(index, "fast", "1.0")
    before = locked("fast")
    make_wheel(index, "fast", "2.0")
    assert pins(locked("fast", keep=before.wheels)) == ["fast==1.0"]
    assert pins(locked("fast")) == ["fast==2.0"]


def test_what_was_chosen_is_kept_for_the_build(index: Path) -> None:
    make_wheel(index, "fast")
    lock = locked("fast")
    shutil.rmtree(index)
    assert [wheel.name for wheel in store.fetch(PI, lock.wheels)] == ["fast"]


def test_a_package_without_a_wheel_for_the_target_is_named_with_what_there_is(index: Path) -> None:
    make_wheel(index, "lite", "2.13", tag="cp310-cp310-manylinux_2_34_aarch64")
    make_wheel(index, "lite", "2.14", tag="cp311-cp311-manylinux_2_34_aarch64")
    make_wheel(index, "top", requires=["lite"])
    with pytest.raises(InputError) as caught:
        locked("top")
    assert caught.value.message == (
        "there is no wheel of lite for arm64 and Python 3.13: there is "
        "2.14 for cp311 manylinux_2_34_aarch64, 2.13 for cp310 manylinux_2_34_aarch64"
    )


def test_a_package_that_is_nowhere_is_named(index: Path) -> None:
    with pytest.raises(InputError, match="there is no wheel of nowhere at all"):
        locked("nowhere")


def test_a_version_that_is_not_there_is_named_with_those_there_are(index: Path) -> None:
    make_wheel(index, "fast", "1.0", tag=ARM64)
    with pytest.raises(InputError, match=r"no wheel of fast.*>=2.*there is 1.0 for"):
        locked("fast>=2")


def test_requirements_that_contradict_each_other_are_an_error(index: Path) -> None:
    make_wheel(index, "one", requires=["low<2"])
    make_wheel(index, "two", requires=["low>=2"])
    for version in ("1.0", "2.0"):
        make_wheel(index, "low", version)
    with pytest.raises(InputError, match=r"no set of wheels for arm64 and Python 3\.13 fulfils all requirements"):
        locked("one", "two")


def test_another_file_under_the_locked_name_is_not_used(index: Path) -> None:
    made = make_wheel(index, "fast")
    (wheel,) = locked("fast").wheels
    shutil.rmtree(store.folder())
    make_wheel(index, "fast", files={"fast/__init__.py": "import evil\n"})
    with pytest.raises(HatfleetError) as caught:
        store.fetch(PI, [wheel])
    assert wheel.sha256 in caught.value.message
    assert Wheel(made).sha256 in caught.value.message
    assert "fast" in caught.value.message
    assert not any(store.folder().glob("*"))


def test_a_wheel_damaged_in_the_cache_is_fetched_again(index: Path) -> None:
    make_wheel(index, "fast")
    (wheel,) = locked("fast").wheels
    (kept,) = (store.folder() / wheel.sha256).iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert store.missing([wheel]) == (wheel,)
    assert store.fetch(PI, [wheel])[0].sha256 == wheel.sha256


def test_changes_are_told_by_name() -> None:
    one, two = LockedWheel("a", "1", "0" * 64, ("x",)), LockedWheel("a", "2", "1" * 64, ("x",))
    assert [(c.before, c.after) for c in changes([one], [two])] == [("1", "2")]
    assert [(c.before, c.after) for c in changes([], [two])] == [(None, "2")]
    assert changes([one], [one]) == ()
