"""Where the packages of an image come from, as apt is told."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hatfleet.image.archives import ArchivePlace, checked_keyring, locate, sources
from hatfleet.image.packages import Origin
from hatfleet.image.platforms import Platform
from hatfleet.image.recipe import Recipe


def origin(recipe: Recipe, platform: Platform | None, work: Path) -> Origin:
    """Return where packages come from, having laid down what apt needs for it.

    Args:
        recipe: Names mirror and archive.
        platform: Whose packages; None for those of the tools tree, which are Debian's.
        work: Receives keyring and source files.

    Raises:
        InputError: the archive's address is not set, or its keyring is not the archive's.
    """
    if platform is None:
        return Origin(mirror=recipe.mirror)
    places = archive_places(recipe)
    if not places:
        return Origin(recipe.mirror, platform.debian_components)
    texts = []
    for number, place in enumerate(places):
        keyring = work / f"archive-{number}.gpg"
        keyring.write_bytes(checked_keyring(place))
        texts.append(sources(place, suite=recipe.suite.name, arch=platform.arch, keyring=keyring))
    further = work / "archives.sources"
    further.write_text("\n".join(texts))
    return Origin(recipe.mirror, platform.debian_components, further)


def origin_inputs(recipe: Recipe) -> dict[str, str]:
    """Return what a stage's key must know of it.

    Raises:
        InputError: the archive's address is not set.
    """
    inputs = {"mirror": recipe.mirror or "default", "components": " ".join(recipe.platform.debian_components)}
    for place in archive_places(recipe):
        content = place.keyring.read_bytes() if place.keyring.is_file() else b""
        parts = (place.uri, place.suite, *place.archive.components, hashlib.sha256(content).hexdigest())
        inputs[f"archive of {place.archive.name}"] = " ".join(part for part in parts if part)
    return inputs


def archive_places(recipe: Recipe) -> tuple[ArchivePlace, ...]:
    """Return where the platform's own archives are, and those that the recipe adds.

    Raises:
        InputError: nobody says.
    """
    folder = recipe.file.parent
    own = (
        locate(archive, recipe.archive, recipe.where("archive"), folder, os.environ)
        for archive in recipe.platform.archives
    )
    return (*own, *(archive.place(recipe.where("archives"), folder) for archive in recipe.archives))
