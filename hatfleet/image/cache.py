"""Keeping the cache of stage outputs small: what is in it, who uses it, and what goes first."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.locks import held_since
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say, slow_step
from hatfleet.common.sizes import format_size, parse_size
from hatfleet.image.store import Store

#: How large the cache may be after a build, such as 20G. Without it there is no limit.
LIMIT_VARIABLE = "HATFLEET_CACHE_LIMIT"


@dataclass(frozen=True)
class Entry:
    """A stage output in the cache."""

    stage: str
    key: str
    recipes: tuple[str, ...]
    """The recipes whose newest build used it."""
    size_bytes: int
    """What it takes on the disk."""
    made_s: float
    """When it was made, seconds since 1970."""
    used_s: float
    """When it was last used by a build, seconds since 1970."""


@dataclass(frozen=True)
class Removed:
    """What was removed, and what is left."""

    count: int
    freed_bytes: int
    left_bytes: int


def entries(store: Store) -> tuple[Entry, ...]:
    """Return everything in the cache, the least recently used first."""
    recipes: dict[tuple[str, str], list[str]] = {}
    for name, used in sorted(_newest_builds().items()):
        for output in used:
            recipes.setdefault(output, []).append(name)
    found = (
        Entry(
            stage=stage,
            key=key,
            recipes=tuple(recipes.get((stage, key), ())),
            size_bytes=store.size_bytes(stage, key),
            made_s=path.stat().st_mtime,
            used_s=store.used_s(stage, key),
        )
        for stage, key, path in store.outputs()
    )
    return tuple(sorted(found, key=lambda entry: (entry.used_s, entry.stage, entry.key)))


def prune(store: Store, *, limit_bytes: int | None = None, everything: bool = False) -> Removed:
    """Remove stage outputs, but none that a build in progress uses.

    Args:
        store: The cache.
        limit_bytes: Remove the least recently used until the rest takes no more than this. Without it, what the newest
            build of no recipe used is removed.
        everything: Remove all.
    """
    there = entries(store)
    left_bytes = sum(entry.size_bytes for entry in there)
    count = freed_bytes = 0
    with slow_step("cleaning the cache"):
        for entry in there:
            goes = left_bytes > limit_bytes if limit_bytes is not None else not entry.recipes
            if not (everything or goes) or _in_use(store, entry):
                continue
            freed_bytes += store.remove(entry.stage, entry.key)
            left_bytes -= entry.size_bytes
            count += 1
    return Removed(count, freed_bytes, left_bytes)


def enforce(store: Store, limit_bytes: int | None = None) -> None:
    """Keep the cache below a limit, after a build.

    Args:
        store: The cache.
        limit_bytes: The limit; that of LIMIT_VARIABLE when None, and none when that is not set either.

    Raises:
        InputError: the variable holds no size.
    """
    written = os.environ.get(LIMIT_VARIABLE, "")
    limit = parse_size(written, LIMIT_VARIABLE) if limit_bytes is None and written else limit_bytes
    if limit is None:
        return
    removed = prune(store, limit_bytes=limit)
    if removed.count:
        say(f"cache: removed {removed.count} stage outputs, {format_size(removed.freed_bytes)}")
    if removed.left_bytes > limit:
        say(f"cache: {format_size(removed.left_bytes)} are in use, more than the limit of {format_size(limit)}")


def verify(store: Store, *, remove: bool = False) -> tuple[tuple[Entry, str], ...]:
    """Read every output and return those that are not as they were made, each with what is wrong.

    Args:
        store: The cache.
        remove: Remove them, so that the next build makes them again.
    """
    damaged = []
    with slow_step("reading the cache"):
        for entry in entries(store):
            problem = store.damage(entry.stage, entry.key, thorough=True)
            if problem is None:
                continue
            damaged.append((entry, problem))
            if remove and not _in_use(store, entry):
                store.remove(entry.stage, entry.key)
    return tuple(damaged)


def _in_use(store: Store, entry: Entry) -> bool:
    """Whether a build in progress uses an output: its recipe's newest one did, or it was used since the build began.

    Looked up anew for every output, because a build may begin while the cache is being cleaned.
    """
    builds = _builds_in_progress()
    return any(recipe in builds for recipe in entry.recipes) or any(
        store.used_s(entry.stage, entry.key) >= since for since in builds.values()
    )


def _builds_in_progress() -> dict[str, float]:
    """Return the recipes that are being built, and since when."""
    prefix = "image-"
    held = ((lock.name.removeprefix(prefix), held_since(lock)) for lock in _locks().glob(f"{prefix}*"))
    return {name: since for name, since in held if since is not None}


def _locks() -> Path:
    return cache_dir() / "locks"


def _newest_builds() -> dict[str, set[tuple[str, str]]]:
    """Return stage and key of what the newest build of every recipe used."""
    builds = {}
    for file in (cache_dir() / "builds").glob("*.json"):
        try:
            record = json.loads(file.read_text())
            builds[file.stem] = {(stage, about["key"]) for stage, about in record.items()}
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            continue  # a record that cannot be read claims nothing
    return builds
