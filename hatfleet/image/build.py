"""Building an image: run the stages that are not cached, then put the release where the admin finds it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatfleet.common.errors import CommandError
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say, step
from hatfleet.common.site import Site
from hatfleet.image import cache, gate
from hatfleet.image.checks import CHECKS_FILE, not_good, read_checks
from hatfleet.image.disk import MIB
from hatfleet.image.lock import read_lock
from hatfleet.image.machine import require_machine, require_space
from hatfleet.image.provision import read_gate
from hatfleet.image.publish import Release, is_published, publish, put_in_place
from hatfleet.image.recipe import Recipe
from hatfleet.image.release.manifest import MANIFEST, Kind
from hatfleet.image.release.signing import SigningKey
from hatfleet.image.stage import Stage, Workplace, plain_umask
from hatfleet.image.stages import plan
from hatfleet.image.store import Store

#: Room for packages, the unpacked trees and archives of the stages before the file systems, MiB.
_STAGES_MIB = 3072

#: Stages whose outputs need that room.
_HEAVY = frozenset({"tools", "packages", "bootstrap", "toolchain", "modules", "initramfs", "provision", "checks"})

#: What of a disk image is not empty, at most: slot A, of two.
_FILLED = 0.6


@dataclass(frozen=True)
class StageStatus:
    """Whether a stage would run, and why."""

    name: str
    key: str
    cached: bool
    reason: str


@dataclass(frozen=True)
class Built:
    """A finished image."""

    image: Path
    manifest: Path
    ran: tuple[str, ...]
    """Names of the stages that were not cached."""


def store() -> Store:
    """The store of this user."""
    return Store(cache_dir() / "stages")


def explain(recipe: Recipe, site: Site) -> tuple[StageStatus, ...]:
    """Say for every stage whether it would run and why, without making anything.

    Raises:
        InputError: a role does not load, or the lock does not fit the recipe.
    """
    outputs = store()
    previous = _newest(recipe.name)
    stages = plan(recipe, site, outputs, read_lock(recipe.file)).stages
    return tuple(_status(stage, outputs, previous.get(stage.name, {})) for stage in stages)


def build(recipe: Recipe, site: Site, out: Path, *, key: SigningKey | None = None, base_url: str = "") -> Built:
    """Build an image into ``out/<name>/``.

    A second build of the same recipe waits for the first. A build that is interrupted or killed leaves nothing but
    complete stage outputs, which the next one uses.

    Args:
        recipe: What to build.
        site: Where its roles are.
        out: Where the folder with the release goes.
        key: Signs the manifest and the provenance.
        base_url: Where the files will be offered, for Raspberry Pi Imager's repository file.

    Raises:
        InputError: the machine lacks a tool, rights or space, or the recipe does not fit.
        RejectedError: something is in the image that must not be, or a control of a role fails on it; it is kept in
            ``out/<name>.rejected``.
        HatfleetError: a stage failed; the error names its log file.
    """
    started = datetime.now(UTC)
    with file_lock(cache_dir() / "locks" / f"image-{recipe.name}", f"image {recipe.name}", on_wait=say):
        require_machine(recipe.platform.arch)
        outputs = store()
        outputs.clear_work(recipe.name)
        lock = read_lock(recipe.file)
        planned = plan(recipe, site, outputs, lock)
        missing = _look_up(planned.stages, outputs)
        release = Release(recipe, site, planned, lock, started, base_url, key)
        filled_mib = int(release.layout.size_bytes // MIB * _FILLED)
        if missing:
            heavy = any(stage.name in _HEAVY for stage in missing)
            require_space(cache_dir(), (_STAGES_MIB if heavy else 0) + 2 * filled_mib)
        require_space(out, filled_mib)
        for stage in planned.stages:
            _run_stage(stage, outputs, recipe)
        folder = _publish(release, out)
        _remember(recipe.name, planned.stages)
        cache.enforce(outputs)
    image = Kind.IMAGE.of(recipe.name, recipe.version)
    return Built(folder / image, folder / MANIFEST, tuple(stage.name for stage in missing))


def _look_up(stages: tuple[Stage, ...], outputs: Store) -> list[Stage]:
    """Return the stages that have to run; note that the outputs of all others are in use."""
    missing = []
    for stage in stages:
        if outputs.has(stage.name, stage.key):
            outputs.touch(stage.name, stage.key)
        else:
            missing.append(stage)
    return missing


def _run_stage(stage: Stage, outputs: Store, recipe: Recipe) -> None:
    with step(stage.name) as current:
        if outputs.has(stage.name, stage.key):
            current.note = "cached"
            return
        log = cache_dir() / "logs" / f"{recipe.name}-{stage.name}.log"
        write_atomic(log, "")
        try:
            with plain_umask():
                outputs.make(
                    stage.name,
                    stage.key,
                    stage.inputs,
                    recipe.name,
                    lambda work: stage.make(Workplace(work, log, current.update)),
                )
        except CommandError as error:
            error.hint = error.hint or f"the whole output: {log}"
            raise
        current.note = f"{outputs.size_bytes(stage.name, stage.key) // MIB} MiB"


def _publish(release: Release, out: Path) -> Path:
    """Put the release into ``out/<name>/`` and return that folder.

    Raises:
        RejectedError: the gate found something, or a control of a role failed.
    """
    folder = out / release.recipe.name
    report = read_gate(release.plan.folder("provision"))
    controls = not_good(read_checks(release.plan.folder("checks")))
    refused = report.findings or controls
    with step("release") as current:
        if not refused and is_published(release, folder):
            current.note = "up to date"
            return folder
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=out, prefix=f".{release.recipe.name}-"))
        try:
            publish(release, work)
            if refused:
                shutil.copy(release.plan.folder("checks") / CHECKS_FILE, work)
                raise gate.reject(work, report, controls=controls, name=release.recipe.name)
            put_in_place(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        current.note = str(folder)
    return folder


def _status(stage: Stage, outputs: Store, previous: Mapping[str, Any]) -> StageStatus:
    if outputs.has(stage.name, stage.key):
        return StageStatus(stage.name, stage.key, cached=True, reason="nothing it is made from has changed")
    if not previous:
        reason = "never built"
    elif previous["key"] == stage.key:
        reason = "its output was cleaned away"
        if outputs.path(stage.name, stage.key).exists():
            reason = f"its output is not as it was made: {outputs.damage(stage.name, stage.key)}"
    else:
        before = previous["inputs"]
        names = [*stage.inputs, *(name for name in before if name not in stage.inputs)]
        reason = "changed: " + ", ".join(name for name in names if stage.inputs.get(name) != before.get(name))
    return StageStatus(stage.name, stage.key, cached=False, reason=reason)


def _builds_dir() -> Path:
    return cache_dir() / "builds"


def _remember(name: str, stages: tuple[Stage, ...]) -> None:
    record = {stage.name: {"key": stage.key, "inputs": dict(stage.inputs)} for stage in stages}
    write_atomic(_builds_dir() / f"{name}.json", json.dumps(record, indent=2) + "\n")


def _newest(name: str) -> dict[str, Any]:
    """Return key and inputs of every stage of a recipe's newest build; nothing when there was none."""
    try:
        record: dict[str, Any] = json.loads((_builds_dir() / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return record
