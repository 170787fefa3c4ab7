"""A new site: the folders an admin works in, with a small example."""

from __future__ import annotations

import shutil
from pathlib import Path

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site, package_content

#: Files of a site that are not content of the package itself; ``gitignore`` gets its dot in the site.
TEMPLATE = Path(__file__).resolve().parents[1] / "site_template"


def create_site(folder: Path) -> Site:
    """Make a site with an example inventory, the image recipes, and empty places for roles and deploys.

    Args:
        folder: Where; it is made if missing and must be empty otherwise.

    Raises:
        InputError: the folder is not empty or cannot be written to.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"{folder} {'is not empty' if folder.is_dir() else 'is a file'}",
                hint="name a new folder: a site is never written over existing files",
            )
        _fill(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot make a site in {folder}: {reason}", hint="choose another folder") from error
    return Site(folder.resolve())


def _fill(folder: Path) -> None:
    content = package_content()
    for kind in ("roles", "deploys"):
        _copy(TEMPLATE / kind / "README.md", folder / kind / "README.md")
    _copy(TEMPLATE / "gitignore", folder / ".gitignore")
    _copy(content / "keys" / "README.md", folder / "keys" / "README.md")
    for source in sorted((content / "inventory" / "example").rglob("*.yaml")):
        _copy(source, folder / source.relative_to(content))
    (folder / "images").mkdir()
    for source in sorted((content / "images").glob("*.yaml")):
        _copy(source, folder / "images" / source.name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The content only: an installed package may be read-only, the admin's copy is to be edited.
    shutil.copyfile(source, target)
