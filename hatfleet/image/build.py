"""Building an image: run the stages that are not cached, then put the artefacts where the admin finds them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatfleet.common.errors import CommandError
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.progress import say, step
from hatfleet.common.run import require_tool, run
from hatfleet.common.site import Site
from hatfleet.image.disk import MIB
from hatfleet.image.identity import Identity
from hatfleet.image.lock import read_lock
from hatfleet.image.machine import require_machine, require_space
from hatfleet.image.recipe import Recipe
from hatfleet.image.stage import Stage, Workplace
from hatfleet.image.stages import DISK_IMAGE, DISK_SHA256, plan
from hatfleet.image.store import RECORD, Store

MANIFEST = "manifest.json"

#: Room for packages, the unpacked tree and archives of the stages before the file systems, MiB.
_STAGES_MIB = 2048


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
        InputError: a role does not load.
    """
    outputs = store()
    previous = _newest(recipe.name)
    stages = plan(recipe, site, outputs, read_lock(recipe.file)).stages
    return tuple(_status(stage, outputs, previous.get(stage.name, {})) for stage in stages)


def build(recipe: Recipe, site: Site, out: Path) -> Built:
    """Build an image into ``out/<name>/``.

    A second build of the same recipe waits for the first. A build that is interrupted or killed leaves nothing but
    complete stage outputs, which the next one uses.

    Raises:
        InputError: the machine lacks a tool, root or space, or the recipe does not fit.
        HatfleetError: a stage failed; the error names its log file.
    """
    with file_lock(cache_dir() / "locks" / f"image-{recipe.name}", f"image {recipe.name}", on_wait=say):
        require_machine(recipe.platform.arch)
        image_mib = recipe.layout.place(Identity.of(recipe.name).disk).size_bytes // MIB
        outputs = store()
        outputs.clear_work(recipe.name)
        planned = plan(recipe, site, outputs, read_lock(recipe.file))
        stages = planned.stages
        if missing := [stage for stage in stages if not outputs.has(stage.name, stage.key)]:
            heavy = any(stage.name in ("tools", "packages", "bootstrap", "initramfs", "provision") for stage in missing)
            require_space(cache_dir(), (_STAGES_MIB if heavy else 0) + 2 * image_mib)
        require_space(out, image_mib)
        for stage in stages:
            _run_stage(stage, outputs, recipe)
        built = _publish(recipe, stages, outputs, out, tuple(stage.name for stage in missing))
        _remember(recipe.name, stages)
    return built


def clean(*, everything: bool) -> tuple[int, int]:
    """Remove stage outputs that the newest build of no recipe used, or all of them.

    Returns:
        How many outputs were removed, and how many bytes of disk that freed.
    """
    keep: set[tuple[str, str]] = set()
    if not everything:
        for record in _builds_dir().glob("*.json"):
            keep.update((name, stage["key"]) for name, stage in _newest(record.stem).items())
    return store().prune(keep)


def _run_stage(stage: Stage, outputs: Store, recipe: Recipe) -> None:
    with step(stage.name) as current:
        if outputs.has(stage.name, stage.key):
            current.note = "cached"
            return
        log = cache_dir() / "logs" / f"{recipe.name}-{stage.name}.log"
        write_atomic(log, "")
        try:
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


def _publish(recipe: Recipe, stages: tuple[Stage, ...], outputs: Store, out: Path, ran: tuple[str, ...]) -> Built:
    """Put image and manifest into ``out/<name>/``: the folder appears whole, or stays as it was."""
    folders = {stage.name: outputs.path(stage.name, stage.key) for stage in stages}
    folder = out / recipe.name
    image_name = f"{recipe.name}-{recipe.version}.img"
    manifest = _manifest(recipe, stages[-1].key, folders, image_name)
    built = Built(folder / image_name, folder / MANIFEST, ran)
    with step("artefacts") as current:
        if _is_published(built, manifest):
            current.note = "up to date"
            return built
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=out, prefix=f".{recipe.name}-"))
        try:
            copy = require_tool("cp", "coreutils")
            source = folders["disk"] / DISK_IMAGE
            run([copy, "--reflink=auto", "--sparse=always", source, work / image_name])
            folder.mkdir(exist_ok=True)
            # Readers find the image by the manifest: it is replaced last, and what it no longer names goes after it.
            (work / image_name).replace(built.image)
            write_atomic(built.manifest, json.dumps(manifest, indent=2) + "\n")
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for old in folder.glob("*.img"):
            if old.name != image_name:
                old.unlink()
        current.note = str(built.image)
    return built


def _manifest(recipe: Recipe, key: str, folders: Mapping[str, Path], image_name: str) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "version": recipe.version,
        "platform": recipe.platform.name,
        "arch": recipe.platform.arch,
        "suite": recipe.suite.name,
        "image": image_name,
        "sha256": (folders["disk"] / DISK_SHA256).read_text().strip(),
        "build": key,
        "admin_user": recipe.admin_user,
        "roles": [role.name for role in recipe.roles],
        "size_bytes": (folders["disk"] / DISK_IMAGE).stat().st_size,
        "layout_mib": recipe.layout.model_dump(mode="json"),
        "stage_seconds": {name: json.loads((path / RECORD).read_text())["seconds"] for name, path in folders.items()},
    }


def _is_published(built: Built, manifest: Mapping[str, Any]) -> bool:
    try:
        published = json.loads(built.manifest.read_text())
        return bool(published == manifest and built.image.stat().st_size == manifest["size_bytes"])
    except (OSError, ValueError):
        return False


def _status(stage: Stage, outputs: Store, previous: Mapping[str, Any]) -> StageStatus:
    if outputs.has(stage.name, stage.key):
        return StageStatus(stage.name, stage.key, cached=True, reason="nothing it is made from has changed")
    if not previous:
        reason = "never built"
    elif previous["key"] == stage.key:
        reason = "its output was cleaned away"
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
