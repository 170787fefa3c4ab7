"""The cache: what is listed, what goes first, and what never goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hatfleet.cli.image import image
from hatfleet.common.errors import InputError
from hatfleet.common.locks import file_lock, held_since
from hatfleet.common.paths import cache_dir
from hatfleet.image import build, cache
from hatfleet.image.store import RECORD, Store

KIB = 1024


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three outputs, of 400, 200 and 100 KiB, used in this order; the newest build of edge used the two last."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(cache.LIMIT_VARIABLE, raising=False)
    outputs = build.store()
    for index, (stage, size_kib) in enumerate((("bootstrap", 400), ("system", 200), ("disk", 100))):
        fill(outputs, stage, size_kib, used_s=1000 + index)
    newest = {stage: {"key": "k", "inputs": {}} for stage in ("system", "disk")}
    builds = cache_dir() / "builds"
    builds.mkdir(parents=True)
    (builds / "edge.json").write_text(json.dumps(newest))
    return outputs


def fill(store: Store, stage: str, size_kib: int, used_s: float, key: str = "k") -> None:
    store.make(stage, key, {}, "edge", lambda work: (work / "output").write_bytes(os.urandom(size_kib * KIB)) and None)
    os.utime(store.path(stage, key) / RECORD, (used_s, used_s))


def there(store: Store) -> list[str]:
    return [entry.stage for entry in cache.entries(store)]


def lock_of(recipe: str) -> Path:
    return cache_dir() / "locks" / f"image-{recipe}"


def test_entries_come_by_last_use_with_the_recipes_that_use_them(store: Store) -> None:
    found = cache.entries(store)
    assert [(entry.stage, entry.recipes, entry.used_s) for entry in found] == [
        ("bootstrap", (), 1000),
        ("system", ("edge",), 1001),
        ("disk", ("edge",), 1002),
    ]
    assert 400 * KIB <= found[0].size_bytes < 420 * KIB
    store.touch("bootstrap", "k")
    assert there(store) == ["system", "disk", "bootstrap"]


def test_a_damaged_record_of_a_build_claims_nothing(store: Store) -> None:
    for text in ("{", "[]", '{"system": {}}', '{"system": 1}'):
        (cache_dir() / "builds" / "edge.json").write_text(text)
        assert {entry.recipes for entry in cache.entries(store)} == {()}


def test_prune_removes_what_no_newest_build_used(store: Store) -> None:
    removed = cache.prune(store)
    assert there(store) == ["system", "disk"]
    assert removed.count == 1
    assert removed.freed_bytes >= 400 * KIB
    assert removed.left_bytes == sum(entry.size_bytes for entry in cache.entries(store))


def test_a_limit_removes_the_least_recently_used_and_no_more_than_needed(store: Store) -> None:
    store.touch("bootstrap", "k")
    cache.prune(store, limit_bytes=560 * KIB)
    assert there(store) == ["disk", "bootstrap"]


def test_a_limit_that_is_kept_removes_nothing(store: Store) -> None:
    assert cache.prune(store, limit_bytes=10**9).count == 0


def test_all_leaves_nothing(store: Store) -> None:
    assert cache.prune(store, everything=True).left_bytes == 0
    assert there(store) == []


def test_the_newest_build_of_a_recipe_that_is_being_built_stays(store: Store) -> None:
    with file_lock(lock_of("edge"), "image edge"):
        cache.prune(store, everything=True)
    assert there(store) == ["system", "disk"]
    cache.prune(store, everything=True)
    assert there(store) == []


def test_what_a_running_build_has_used_stays_though_no_record_names_it(store: Store) -> None:
    with file_lock(lock_of("new"), "image new"):
        store.touch("bootstrap", "k")
        fill(store, "boot", 1, used_s=time.time())
        cache.prune(store, everything=True)
    assert there(store) == ["bootstrap", "boot"]


def test_a_lock_says_since_when_it_is_held(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert held_since(lock) is None
    with file_lock(lock, "it"):
        since = held_since(lock)
        assert since and abs(since - time.time()) < 5
        lock.write_text("")  # the holder has not written yet
        assert held_since(lock)
    assert held_since(lock) is None


def test_a_limit_from_the_environment_is_kept_after_a_build(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.enforce(store)
    assert len(there(store)) == 3
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "350K")
    cache.enforce(store)
    assert there(store) == ["system", "disk"]
    cache.enforce(store, limit_bytes=150 * KIB)
    assert there(store) == ["disk"]


def test_a_limit_below_what_is_in_use_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cache, "say", said.append)
    with file_lock(lock_of("edge"), "image edge"):
        cache.enforce(store, limit_bytes=0)
    assert said[0].startswith("cache: removed 1 stage outputs, 4")
    assert "are in use, more than the limit of 0 B" in said[1]


def test_a_limit_that_is_no_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.LIMIT_VARIABLE, "plenty")
    with pytest.raises(InputError, match="HATFLEET_CACHE_LIMIT: found 'plenty', allowed is a number with K, M, G or T"):
        cache.enforce(store)


def test_verify_finds_damage_and_removes_it_when_told(store: Store) -> None:
    assert cache.verify(store) == ()
    flip(store)
    ((entry, problem),) = cache.verify(store)
    assert (entry.stage, problem) == ("system", "the content of output is damaged")
    cache.verify(store, remove=True)
    assert there(store) == ["bootstrap", "disk"]


def flip(store: Store) -> None:
    """Change a byte as a failing disk would: size and time stay."""
    file = store.path("system", "k") / "output"
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(image, ["cache", *args])
    assert result.exit_code == code, result.output
    return result


def test_the_list(store: Store) -> None:
    rows = [line.split() for line in run().stdout.splitlines()]
    assert rows[0] == ["stage", "size", "made", "used", "recipes"]
    assert [row[0] for row in rows[1:]] == ["bootstrap", "system", "disk"]
    assert [row[-1] for row in rows[1:]] == ["none", "edge", "edge"]
    assert [row["stage"] for row in json.loads(run("--json").stdout)] == ["bootstrap", "system", "disk"]


def test_prune_and_verify_from_the_command_line(store: Store) -> None:
    flip(store)
    assert "system k: the content of output is damaged" in run("verify", code=5).stdout
    assert json.loads(run("verify", "--json", "--remove").stdout)[0]["stage"] == "system"
    assert json.loads(run("prune", "--max-size", "150K", "--json").stdout)["count"] == 1
    assert there(store) == ["disk"]
    run("prune", "--all", "--max-size", "1K", code=2)
    run("prune", "--all")
    assert there(store) == []
