"""The cache: keys, completeness, cleaning."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hatfleet.image.store import RECORD, Store, digest_tree, stage_key


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "stages")


def fill(work: Path) -> None:
    (work / "output").write_text("x")


def test_every_input_is_part_of_the_key() -> None:
    keys = {
        stage_key("boot", {"a": "1", "b": "2"}),
        stage_key("boot", {"a": "1", "b": "3"}),
        stage_key("boot", {"a": "1"}),
        stage_key("disk", {"a": "1", "b": "2"}),
        stage_key("boot", {"a": "1", "b": "2", "c": ""}),
    }
    assert len(keys) == 5
    assert stage_key("boot", {"b": "2", "a": "1"}) == stage_key("boot", {"a": "1", "b": "2"})


def test_an_output_is_there_only_when_it_is_complete(store: Store) -> None:
    seen: list[bool] = []

    def make(work: Path) -> None:
        fill(work)
        seen.append(store.has("boot", "k"))

    store.make("boot", "k", {"a": "1"}, "edge", make)
    assert seen == [False]
    assert store.has("boot", "k")
    assert (store.path("boot", "k") / "output").read_text() == "x"


def test_a_failed_stage_leaves_nothing(store: Store) -> None:
    def make(work: Path) -> None:
        fill(work)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.make("boot", "k", {}, "edge", make)
    assert not store.has("boot", "k")
    assert list((store.root / "boot").iterdir()) == []


def test_what_a_killed_build_left_is_cleared_for_its_own_recipe_only(store: Store) -> None:
    for owner in ("edge", "other"):
        (store.root / "boot" / f".work-{owner}-abc" / "root").mkdir(parents=True)
    store.clear_work("edge")
    assert [path.name for path in (store.root / "boot").iterdir()] == [".work-other-abc"]


def test_a_half_written_output_does_not_count(store: Store) -> None:
    store.path("boot", "k").mkdir(parents=True)
    assert not store.has("boot", "k")
    assert list(store.outputs()) == []


def test_two_builds_that_make_the_same_output_both_succeed(store: Store) -> None:
    def make(work: Path) -> None:
        store.make("boot", "k", {}, "other", fill)
        fill(work)

    store.make("boot", "k", {}, "edge", make)
    assert [key for _, key, _ in store.outputs()] == ["k"]


def test_prune_keeps_what_it_is_told_to(store: Store) -> None:
    for key in ("a", "b"):
        store.make("boot", key, {}, "edge", fill)
    count, freed_bytes = store.prune({("boot", "a")})
    assert (count, freed_bytes > 0) == (1, True)
    assert [key for _, key, _ in store.outputs()] == ["a"]


def test_a_digest_sees_content_names_and_execute_bits_but_no_compiled_files(tmp_path: Path) -> None:
    folder = tmp_path / "role"
    folder.mkdir()
    (folder / "script").write_text("1")
    seen = [digest_tree(folder)]
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert digest_tree(folder) == seen[0]
    (folder / "script").write_text("2")
    seen.append(digest_tree(folder))
    (folder / "script").chmod(0o755)
    seen.append(digest_tree(folder))
    (folder / "script").rename(folder / "other")
    seen.append(digest_tree(folder))
    assert len(set(seen)) == 4


def fill_more(work: Path) -> None:
    fill(work)
    (work / "link").symlink_to("output")
    (work / "deep").mkdir()
    with (work / "deep" / "sparse.img").open("wb") as image:
        image.truncate(3 * 1024 * 1024)
        image.seek(2 * 1024 * 1024)
        image.write(b"z")


@pytest.fixture
def output(store: Store) -> Path:
    store.make("boot", "k", {}, "edge", fill_more)
    assert store.damage("boot", "k", thorough=True) is None
    return store.path("boot", "k")


def test_a_file_that_was_written_to_is_damage(store: Store, output: Path) -> None:
    with (output / "deep" / "sparse.img").open("r+b") as image:
        image.write(b"!")
    assert store.damage("boot", "k") == "deep/sparse.img was changed"
    assert not store.has("boot", "k")


def test_a_file_that_was_cut_is_damage(store: Store, output: Path) -> None:
    before = (output / "output").stat()
    os.truncate(output / "output", 0)
    os.utime(output / "output", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.damage("boot", "k") == "output was changed"


def test_a_missing_and_a_strange_file_are_damage(store: Store, output: Path) -> None:
    (output / "new").touch()
    assert store.damage("boot", "k") == "new is not its own"
    (output / "link").unlink()
    assert store.damage("boot", "k") == "link is missing"


@pytest.mark.parametrize("name", ["output", "deep/sparse.img"])
def test_content_that_changed_behind_the_file_systems_back_is_found_by_reading(
    store: Store, output: Path, name: str
) -> None:
    before = (output / name).stat()
    with (output / name).open("r+b") as handle:
        handle.write(b"!")
    os.utime(output / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.damage("boot", "k") is None
    assert store.damage("boot", "k", thorough=True) == f"the content of {name} is damaged"


@pytest.mark.parametrize("record", ["", "{", "[]", '{"seconds": 1}'])
def test_an_output_with_a_damaged_record_does_not_count(store: Store, output: Path, record: str) -> None:
    (output / RECORD).write_text(record)
    assert store.damage("boot", "k") == "its stage.json is damaged"
    assert not store.has("boot", "k")


def test_a_damaged_output_is_made_again(store: Store, output: Path) -> None:
    (output / "output").write_text("altered")
    store.make("boot", "k", {}, "edge", fill_more)
    assert (output / "output").read_text() == "x"
    assert store.has("boot", "k")


def test_use_is_noted(store: Store, output: Path) -> None:
    os.utime(output / RECORD, (1, 1))
    assert store.used_s("boot", "k") == 1
    store.touch("boot", "k")
    assert store.used_s("boot", "k") > 1
    assert store.has("boot", "k")
    assert store.used_s("boot", "gone") == 0


def test_removing_says_what_it_freed_and_twice_is_no_error(store: Store, output: Path) -> None:
    assert store.remove("boot", "k") > 0
    assert not output.exists()
    assert store.remove("boot", "k") == 0
