"""Shared by the image tests: the image of images/edge-virt.yaml, taken apart by programs that are not ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hatfleet.common.site import Site
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.build import store
from hatfleet.image.disk import MIB
from hatfleet.image.lock import read_lock
from hatfleet.image.recipe import Recipe, find_recipe, load_recipe
from hatfleet.image.release.manifest import MANIFEST, Kind, Manifest, load_manifest
from hatfleet.image.stages import Plan, plan
from hatfleet.image.tools import Tools
from tests.conftest import STATE


@pytest.fixture
def tests_state(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the same state directory in this process as the fixture ``provision`` does."""
    monkeypatch.setenv("XDG_STATE_HOME", str(STATE))
    return STATE


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    site = Site.find(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(STATE))
        return load_recipe(site, find_recipe(site, "edge-virt"))


@pytest.fixture(scope="session")
def planned(edge_virt_image: Path, recipe: Recipe) -> Plan:
    """The stages that the image was made by; all their outputs are there."""
    return plan(recipe, Site.find(Path(__file__).parent), store(), read_lock(recipe.file))


@pytest.fixture(scope="session")
def tools(planned: Plan) -> Tools:
    """The programs of the tools tree: those of this machine may be too old to read the image."""
    return planned.tools


@pytest.fixture(scope="session")
def manifest(edge_virt_image: Path) -> Manifest:
    return load_manifest(edge_virt_image.parent / MANIFEST)


@pytest.fixture(scope="session")
def artefact(edge_virt_image: Path, manifest: Manifest) -> Callable[[Kind], Path]:
    """Where a file of the release is."""

    def find(kind: Kind) -> Path:
        return edge_virt_image.parent / kind.of(manifest.name, manifest.version)

    return find


@pytest.fixture(scope="session")
def partition(
    edge_virt_image: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A copy of one partition, for tools that take a file. Read only: all tests share it."""
    folder = tmp_path_factory.mktemp("partitions")

    def copy(name: str) -> Path:
        target = folder / name
        if not target.exists():
            entry = next(one for one in manifest.layout.partitions if one.name == name)
            start, size = entry.start_bytes // MIB, entry.size_bytes // MIB
            command = ["dd", f"if={edge_virt_image}", f"of={target}", "bs=1M", f"skip={start}", f"count={size}"]
            subprocess.run([*command, "conv=sparse"], check=True, capture_output=True)
            with target.open("r+b") as handle:
                handle.truncate(entry.size_bytes)
        return target

    return copy


@pytest.fixture(scope="session")
def sealed_root(
    artefact: Callable[[Kind], Path], tools: Tools, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The root file system as a device sees it before /var is mounted. Read only: all tests share it."""
    folder, image = tmp_path_factory.mktemp("sealed"), artefact(Kind.SYSTEM)
    tools.run(["fsck.erofs", f"--extract={folder / 'root'}", "--preserve", image], reads=[image], writes=[folder])
    yield folder / "root"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bootstrap_archive(planned: Plan) -> Path:
    """The bootstrapped packages that the image was made from."""
    return planned.folder("bootstrap") / ARCHIVE


@pytest.fixture(scope="module")
def rootfs(bootstrap_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root file system of its own for a test module."""
    folder = tmp_path_factory.mktemp("rootfs")
    tree.unpack(bootstrap_archive, folder / "root", folder / "log")
    yield folder / "root"
    shutil.rmtree(folder)
