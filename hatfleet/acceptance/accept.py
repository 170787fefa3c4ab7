"""From a recipe that was built to the report on its image."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatfleet.acceptance.booted import judge_booted
from hatfleet.acceptance.offline import judge_root
from hatfleet.acceptance.report import Acceptance, acceptance_json
from hatfleet.common.errors import InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.paths import cache_dir
from hatfleet.common.site import Site
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.build import store
from hatfleet.image.gate import REJECTED, recipe_facts
from hatfleet.image.lock import read_lock
from hatfleet.image.machine import require_machine
from hatfleet.image.provision import BOOT_CONTENT, BOOT_FOLDER
from hatfleet.image.recipe import Recipe, find_recipe, load_recipe
from hatfleet.image.release.manifest import MANIFEST
from hatfleet.image.seal import furnish
from hatfleet.image.stages import plan

#: The stage whose output is the root file system of the image.
_ROOT_STAGE = "provision"

#: The report, among the artefacts of a refused image.
ACCEPTANCE_FILE = "acceptance.json"


@dataclass(frozen=True)
class Candidate:
    """A built image, and the recipe it was built from."""

    recipe: Recipe
    image: Path


def find_candidate(site: Site, given: str, out: Path) -> Candidate:
    """Return the image to judge.

    Args:
        site: Where recipes are looked up.
        given: A recipe (name or path), or the path of an image with its manifest beside it.
        out: Where images of recipes are.

    Raises:
        InputError: there is no such recipe or image.
    """
    path = Path(given)
    if path.suffix == ".img":
        if not path.is_file():
            raise InputError(f"there is no image {path}")
        return Candidate(load_recipe(site, find_recipe(site, _named(path.parent / MANIFEST, path.name))), path)
    recipe = load_recipe(site, find_recipe(site, given))
    image = out / recipe.name / f"{recipe.name}-{recipe.version}.img"
    if not image.is_file():
        raise InputError(f"there is no image {image}", hint=f"build it first: provision image build {given}")
    return Candidate(recipe, image)


def accept(
    candidate: Candidate,
    site: Site,
    *,
    boot: bool = True,
) -> Acceptance:
    """Judge an image by its files and, where the lab can boot it, as it runs.

    Args:
        candidate: The image.
        site: Where the roles' checks are looked up.
        boot: Whether to boot it.

    Raises:
        InputError: the recipe or a role has changed since the image was built, or this machine lacks something.
        HatfleetError: something could not be judged.
    """
    recipe = candidate.recipe
    require_machine(recipe.platform.arch)
    facts = recipe_facts(recipe.roles, recipe.allow)
    with _unpacked(recipe, site) as root:
        offline = judge_root(root, name=recipe.name, site=site, roles=recipe.roles, facts=facts)
    booted, reason = None, ""
    if not boot:
        reason = "it was not wanted"
    elif not recipe.platform.lab:
        reason = f"the lab cannot boot images for {recipe.platform.name}"
    else:
        booted = judge_booted(candidate.image, name=recipe.name, site=site, roles=recipe.roles, facts=facts)
    return Acceptance(recipe.name, recipe.version, offline, booted, reason)


def refuse(candidate: Candidate, acceptance: Acceptance) -> Path:
    """Keep a refused image where nobody takes it for a good one, with the report, and return that folder."""
    folder = candidate.image.parent
    kept = folder.with_name(candidate.recipe.name + REJECTED)
    write_atomic(folder / ACCEPTANCE_FILE, acceptance_json(acceptance) + "\n")
    if kept.exists():
        shutil.rmtree(kept)
    return folder.rename(kept)


@contextmanager
def _unpacked(recipe: Recipe, site: Site) -> Iterator[Path]:
    """Give a copy of the root file system that the recipe's image was made from.

    Raises:
        InputError: the newest build is of other inputs.
    """
    outputs = store()
    built = plan(recipe, site, outputs, read_lock(recipe.file))
    if not outputs.has(_ROOT_STAGE, built.key(_ROOT_STAGE)):
        raise InputError(
            f"the image of {recipe.name} was not built from the recipe and roles as they are now",
            hint=f"build it again: provision image build {recipe.name}",
        )
    folder = cache_dir() / "acceptance"
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder))
    try:
        folder, root = built.folder(_ROOT_STAGE), work / "root"
        tree.unpack(folder / ARCHIVE, root, work / "unpack.log")
        furnish(root)
        shutil.copytree(folder / BOOT_CONTENT, root / BOOT_FOLDER, dirs_exist_ok=True)
        yield root
    finally:
        shutil.rmtree(work)


def _named(manifest: Path, image: str) -> str:
    """Return the name of the recipe that an image was built from."""
    try:
        record = json.loads(manifest.read_text())
        if record["image"] == image:
            return str(record["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "give the recipe's name, or build the image again"
        raise InputError("this does not say which recipe the image is of", where=Where(manifest), hint=hint) from error
    raise InputError(f"this manifest is about another image: {record['image']}", where=Where(manifest))
