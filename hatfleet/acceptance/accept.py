"""From a recipe that was built to the report on its image."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hatfleet.acceptance.booted import judge_booted
from hatfleet.acceptance.report import Acceptance, Offline, acceptance_json
from hatfleet.common.errors import InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.compliance.runner import list_controls
from hatfleet.image.build import store
from hatfleet.image.checks import read_checks
from hatfleet.image.gate import REJECTED, recipe_facts
from hatfleet.image.lock import read_lock
from hatfleet.image.provision import read_gate
from hatfleet.image.recipe import Recipe, find_recipe, load_recipe
from hatfleet.image.release.manifest import MANIFEST, load_manifest
from hatfleet.image.stages import plan

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
    """Judge an image by what its build found in its files and, where the lab can boot it, as it runs.

    Args:
        candidate: The image.
        site: Where the roles' checks are looked up.
        boot: Whether to boot it.

    Raises:
        InputError: the recipe or a role has changed since the image was built, or the lab lacks something.
        HatfleetError: something could not be judged.
    """
    recipe = candidate.recipe
    offline = _judged(candidate, site)
    booted, reason = None, ""
    if not boot:
        reason = "it was not wanted"
    elif not recipe.platform.lab:
        reason = f"the lab cannot boot images for {recipe.platform.name}"
    else:
        booted = judge_booted(
            candidate.image,
            name=recipe.name,
            site=site,
            roles=recipe.roles,
            facts=recipe_facts(recipe.roles, recipe.allow),
        )
    return Acceptance(recipe.name, recipe.version, offline, booted, reason)


def refuse(candidate: Candidate, acceptance: Acceptance) -> Path:
    """Keep a refused image where nobody takes it for a good one, with the report, and return that folder."""
    folder = candidate.image.parent
    kept = folder.with_name(candidate.recipe.name + REJECTED)
    write_atomic(folder / ACCEPTANCE_FILE, acceptance_json(acceptance) + "\n")
    if kept.exists():
        shutil.rmtree(kept)
    return folder.rename(kept)


def _judged(candidate: Candidate, site: Site) -> Offline:
    """Return what the build found in the root file system that the image was made from.

    Raises:
        InputError: the image was made from other inputs, or what its build found is not kept any more.
    """
    recipe, outputs = candidate.recipe, store()
    built = plan(recipe, site, outputs, read_lock(recipe.file))
    ours = load_manifest(candidate.image.parent / MANIFEST).build == built.key("release")
    if not ours or not all(outputs.has(name, built.key(name)) for name in ("provision", "checks")):
        raise InputError(
            f"{candidate.image.name} was not built from the recipe and roles as they are now",
            hint=f"build it again: provision image build {recipe.name}",
        )
    listing = list_controls(site, [role.name for role in recipe.roles])
    at_boot = tuple(control for control in listing.controls if control.needs == "boot")
    return Offline(read_gate(built.folder("provision")), read_checks(built.folder("checks")), at_boot)


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
