"""Shared by the image tests: an unpacked root file system to run commands in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.common.site import Site
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.build import store
from hatfleet.image.recipe import find_recipe, load_recipe
from hatfleet.image.stages import plan


@pytest.fixture(scope="session")
def bootstrap_archive(edge_virt_image: Path) -> Path:
    """The bootstrapped packages that the image was made from."""
    site = Site.find(Path(__file__).parent)
    first = plan(load_recipe(site, find_recipe(site, "edge-virt")), site, store())[0]
    return store().path(first.name, first.key) / ARCHIVE


@pytest.fixture(scope="module")
def rootfs(bootstrap_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root file system of its own for a test module."""
    folder = tmp_path_factory.mktemp("rootfs")
    tree.unpack(bootstrap_archive, folder / "root", folder / "log")
    yield folder / "root"
    shutil.rmtree(folder)
