"""Putting a release where the admin finds it: the folder appears whole, or stays as it was."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import socket
import tempfile
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from packageurl import PackageURL

import hatfleet
from hatfleet.common.run import require_tool, run
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.roles import load_role_info
from hatfleet.image.bootfiles import BOOT_PARTITIONS, cmdline_file
from hatfleet.image.disk import DiskLayout
from hatfleet.image.identity import Identity
from hatfleet.image.lock import Lock
from hatfleet.image.packages import Package, read_contents
from hatfleet.image.recipe import Recipe, settings_digest
from hatfleet.image.release.imager import Offer, os_list
from hatfleet.image.release.manifest import (
    MANIFEST,
    OS_LIST,
    SIGNATURE,
    Artefact,
    Inputs,
    Kind,
    LayoutEntry,
    Manifest,
    PackageEntry,
    PartitionEntry,
    RoleInput,
    Verity,
    load_manifest,
)
from hatfleet.image.release.provenance import BuildRun, Material, provenance
from hatfleet.image.release.signing import SigningKey, sign_file
from hatfleet.image.releasestage import Sources, read_artefacts
from hatfleet.image.stage import role_code
from hatfleet.image.stages import Plan, release_sources
from hatfleet.image.store import RECORD
from hatfleet.image.system import BLOCK_BYTES, read_verity
from hatfleet.image.tools import PACKAGES
from hatfleet.image.wanted import wanted_drivers

#: Of renameat2(2), linux/fs.h: both names must exist, and change places in one step.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@dataclass(frozen=True)
class Release:
    """What is to be published."""

    recipe: Recipe
    site: Site
    plan: Plan
    lock: Lock | None
    started: datetime
    base_url: str
    """What comes before file names in the Imager repository file."""
    key: SigningKey | None

    @property
    def layout(self) -> DiskLayout:
        """Its disk."""
        return self.recipe.layout.place(Identity.of(self.recipe.name).disk)

    def name(self, kind: Kind) -> str:
        """Return the name of a file."""
        return kind.of(self.recipe.name, self.recipe.version)


def is_published(release: Release, folder: Path) -> bool:
    """Whether a folder holds just this release, as far as names, sizes and signatures go."""
    try:
        manifest = load_manifest(folder / MANIFEST)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    except Exception:  # whatever is wrong with it, it is made anew
        return False
    wanted = {name: entry.size_bytes for name, entry in manifest.artefacts.items()}
    signatures = {name for name in sizes if name.endswith(SIGNATURE)}
    others = {name: size for name, size in sizes.items() if name not in signatures and name != MANIFEST}
    return (
        manifest.build == release.plan.key("release")
        and manifest.inputs == _inputs(release)
        and others == wanted
        and bool(signatures) == (release.key is not None)
        and (release.key is None or _signed_by(folder / MANIFEST, release.key))
    )


def publish(release: Release, work: Path) -> None:
    """Fill a folder with a release.

    Args:
        release: What.
        work: An empty folder.

    Raises:
        CommandError: a file cannot be copied.
    """
    made = release.plan.folder("release")
    artefacts = read_artefacts(made)
    sources = release_sources(release.plan)
    for kind, source in sources.artefacts().items():
        _copy(source, work / release.name(kind))
    for name in artefacts:
        if not (work / name).exists():
            _copy(made / name, work / name)
    image = release.name(Kind.IMAGE)
    compressed = release.name(Kind.COMPRESSED)
    offer = Offer(
        name=f"{release.recipe.name} {release.recipe.version}",
        description=f"{release.recipe.platform.title}: {release.recipe.suite.name}, made with hatfleet",
        released=date.today(),  # the day on the admin's calendar
        devices=release.recipe.platform.imager_tags,
        base_url=release.base_url,
    )
    (work / OS_LIST).write_text(
        os_list(
            offer,
            image=artefacts[image],
            compressed=(compressed, artefacts[compressed]),
            block_map=release.name(Kind.BLOCK_MAP),
        )
    )
    (work / release.name(Kind.PROVENANCE)).write_text(_provenance(release, artefacts))
    for name in (OS_LIST, release.name(Kind.PROVENANCE)):
        artefacts[name] = Artefact.of(work / name)
    (work / MANIFEST).write_text(_manifest(release, sources, artefacts).text())
    if release.key:
        for name in (MANIFEST, release.name(Kind.PROVENANCE)):
            sign_file(work / name, release.key)


def put_in_place(work: Path, folder: Path) -> None:
    """Make a filled folder take the place of another in one step; the other is removed.

    On a file system that cannot exchange two names there is a moment without either.
    """
    work.chmod(0o755)
    if not folder.exists():
        work.rename(folder)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE) == 0:
        shutil.rmtree(work)
        return
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-old-"))
    folder.rename(aside / folder.name)
    work.rename(folder)
    shutil.rmtree(aside)


def _signed_by(file: Path, key: SigningKey) -> bool:
    """Whether a signature is the one the key makes: it is deterministic."""
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(file, folder)
        return sign_file(Path(copy), key).read_bytes() == Path(f"{file}{SIGNATURE}").read_bytes()
    return False


def _copy(source: Path, target: Path) -> None:
    run([require_tool("cp", "coreutils"), "--reflink=auto", "--sparse=always", source, target])


def _inputs(release: Release) -> Inputs:
    recipe = release.recipe
    roles = {
        role.name: RoleInput(
            code=role_code(load_role_info(release.site, role.name).path), settings=settings_digest(role.settings)
        )
        for role in recipe.roles
    }
    return Inputs(
        recipe=hashlib.sha256(recipe.file.read_bytes()).hexdigest(),
        lock=release.lock.digest if release.lock else None,
        roles=roles,
        tools={"hatfleet": hatfleet.__version__, **_tool_versions(release.plan)},
    )


def _tool_versions(plan: Plan) -> dict[str, str]:
    found = {package.name: package.version for package in read_contents(plan.folder("tools"))}
    return {name: found[name] for name in PACKAGES}


def _manifest(release: Release, sources: Sources, artefacts: dict[str, Artefact]) -> Manifest:
    recipe, plan, layout = release.recipe, release.plan, release.layout
    verity = read_verity(plan.folder("system"))
    image = release.name(Kind.IMAGE)
    partitions = tuple(
        PartitionEntry(
            name=placed.name,
            number=placed.number,
            start_bytes=placed.start_bytes,
            size_bytes=placed.size_bytes,
            partuuid=placed.partuuid,
            used_bytes=sources.used_bytes(placed.name),
        )
        for placed in layout.partitions
    )
    boot = plan.folder("boot")
    seconds = {
        stage.name: json.loads((plan.folder(stage.name) / RECORD).read_text())["seconds"] for stage in plan.stages
    }
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        platform=recipe.platform.name,
        arch=recipe.platform.arch,
        suite=recipe.suite.name,
        build=plan.key("release"),
        image=image,
        sha256=artefacts[image].sha256,
        admin_user=recipe.admin_user,
        inputs=_inputs(release),
        packages=tuple(PackageEntry(name=one.name, version=one.version, arch=one.arch) for one in _packages(release)),
        layout=LayoutEntry(table=layout.table.value, partitions=partitions),
        verity=Verity(root_hash=verity.root_hash, hash_offset_bytes=verity.data_blocks * BLOCK_BYTES),
        command_lines={
            slot: (boot / cmdline_file(recipe.platform, slot)).read_text().strip() for slot in BOOT_PARTITIONS
        },
        stage_seconds=seconds,
        artefacts=dict(sorted(artefacts.items())),
    )


def _packages(release: Release) -> tuple[Package, ...]:
    """Return the packages that are in the image: a driver's is fetched with what compiles it."""
    fetched = read_contents(release.plan.folder("packages"))
    drivers = {driver.package for driver in wanted_drivers(release.recipe, release.site)}
    return tuple(sorted((*fetched, *(one for one in _toolchain(release) if one.name in drivers))))


def _tools(release: Release) -> tuple[Package, ...]:
    return read_contents(release.plan.folder("tools"))


def _toolchain(release: Release) -> tuple[Package, ...]:
    plan = release.plan
    return read_contents(plan.folder("toolchain")) if plan.has("toolchain") else ()


def _provenance(release: Release, artefacts: dict[str, Artefact]) -> str:
    recipe = release.recipe
    products = [release.name(kind) for kind in (Kind.IMAGE, Kind.COMPRESSED, Kind.SYSTEM, Kind.BOOT)]
    materials = [
        Material(f"{one.name}_{one.version}_{one.arch}.deb", _purl(one, recipe.suite.name), one.sha256)
        for one in dict.fromkeys((*_packages(release), *_toolchain(release), *_tools(release)))
    ]
    return provenance(
        {name: artefacts[name].sha256 for name in products},
        recipe=load_yaml(recipe.file).plain(),
        environment={"build": release.plan.key("release"), **_inputs(release).tools},
        materials=materials,
        run=BuildRun(
            builder_id=f"urn:x-hatfleet:host:{socket.gethostname()}",
            invocation_id=str(uuid.uuid4()),
            started=release.started,
            finished=datetime.now(UTC),
        ),
        byproducts=[Material(name, sha256=entry.sha256) for name, entry in artefacts.items() if name not in products],
    )


def _purl(package: Package, suite: str) -> str:
    return PackageURL(
        "deb", "debian", package.name, package.version, {"arch": package.arch, "distro": suite}
    ).to_string()
