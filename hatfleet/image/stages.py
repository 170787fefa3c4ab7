"""The stages of a build: what goes into each, and so whether its output can be used again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import hatfleet
from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.roles import load_role_code, load_role_info
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE, bootstrap, package_list
from hatfleet.image.disk import MIB, Kind, Partition, TableType, place, write_disk
from hatfleet.image.ext4 import make_ext4
from hatfleet.image.ext4 import tree_mib as ext4_mib
from hatfleet.image.fat import make_fat
from hatfleet.image.fat import tree_mib as fat_mib
from hatfleet.image.identity import Identity
from hatfleet.image.initramfs import INITRAMFS, KERNEL, initramfs
from hatfleet.image.provision import BOOT_FOLDER, provision
from hatfleet.image.recipe import Recipe, settings_digest
from hatfleet.image.store import Store, digest_tree, stage_key

#: Outputs of the last stages.
BOOT_IMAGE, SYSTEM_IMAGE, DISK_IMAGE, DISK_SHA256 = "boot.vfat", "system.ext4", "disk.img", "disk.sha256"


@dataclass(frozen=True)
class Workplace:
    """What a running stage has: a folder for its output, a log file, and somebody to tell what it is doing."""

    folder: Path
    log: Path
    progress: Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """A step of a build."""

    name: str
    inputs: Mapping[str, str]
    """Everything its output depends on, each under the name that an explanation gives it."""
    make: Callable[[Workplace], None]
    """Makes the output."""

    @property
    def key(self) -> str:
        """Key of the output."""
        return stage_key(self.name, self.inputs)


def plan(recipe: Recipe, site: Site, store: Store) -> tuple[Stage, ...]:
    """Return the stages of a recipe in the order in which they run.

    Keys follow from keys, so that the whole plan is known before anything is made.

    Raises:
        InputError: a role does not load.
    """
    first = _bootstrap(recipe, site)
    bootstrapped = store.path(first.name, first.key)
    second = _initramfs(recipe, first, bootstrapped)
    third = _provision(recipe, site, first, bootstrapped)
    provisioned = store.path(third.name, third.key)
    boot = _boot(recipe, second, third, store.path(second.name, second.key), provisioned)
    system = _system(recipe, third, provisioned)
    disk = _disk(recipe, boot, system, store.path(boot.name, boot.key), store.path(system.name, system.key))
    return first, second, third, boot, system, disk


def _bootstrap(recipe: Recipe, site: Site) -> Stage:
    packages = package_list(recipe.platform, recipe.packages, _role_packages(recipe, site))
    inputs = {
        "suite": recipe.suite.name,
        "time of files": str(recipe.suite.epoch_s),
        "architecture": recipe.platform.arch,
        "packages": " ".join(packages),
        "hatfleet code": _code("bootstrap"),
    }

    def make(at: Workplace) -> None:
        at.progress(f"{len(packages)} packages and what they need")
        bootstrap(at.folder, suite=recipe.suite, platform=recipe.platform, packages=packages, log=at.log)

    return Stage("bootstrap", inputs, make)


def _initramfs(recipe: Recipe, bootstrapped: Stage, folder: Path) -> Stage:
    inputs = {
        _stage(bootstrapped): bootstrapped.key,
        "kernel modules": " ".join(recipe.platform.initramfs_modules),
        "hatfleet code": _code("initramfs", "cpio", "elf", "files/init.sh", "tree"),
    }

    def make(at: Workplace) -> None:
        at.progress("kernel and initramfs")
        initramfs(at.folder, bootstrap=folder, platform=recipe.platform, epoch_s=recipe.suite.epoch_s, log=at.log)

    return Stage("initramfs", inputs, make)


def _provision(recipe: Recipe, site: Site, bootstrapped: Stage, folder: Path) -> Stage:
    package = Path(hatfleet.__file__).parent
    inputs = {
        _stage(bootstrapped): bootstrapped.key,
        "name": recipe.name,
        "version": recipe.version,
        "platform": recipe.platform.name,
        "kernel arguments": " ".join(recipe.platform.kernel_arguments),
        "order of roles": " ".join(role.name for role in recipe.roles),
        "operations": digest_tree(package / "ops", package / "fleet" / "connectors", package / "fleet" / "engine"),
        "hatfleet code": _code("provision", "tree", "identity"),
    }
    for role in recipe.roles:
        inputs[f"role {role.name}"] = digest_tree(load_role_info(site, role.name).path)
        inputs[f"settings of {role.name}"] = settings_digest(role.settings)

    def make(at: Workplace) -> None:
        provision(at.folder, bootstrap=folder, recipe=recipe, site=site.root, log=at.log, progress=at.progress)

    return Stage("provision", inputs, make)


def _boot(recipe: Recipe, kernel: Stage, provisioned: Stage, kernel_folder: Path, folder: Path) -> Stage:
    identity = Identity.of(recipe.name)
    inputs = {
        _stage(kernel): kernel.key,
        _stage(provisioned): provisioned.key,
        "size": str(recipe.layout.boot_mib),
        "volume id": str(identity.boot_volume_id),
        "hatfleet code": _code("stages", "fat"),
    }

    def make(at: Workplace) -> None:
        root = at.folder / "root"
        tree.unpack(folder / ARCHIVE, root, at.log, only=f"./{BOOT_FOLDER}")
        content = root / BOOT_FOLDER
        for name in (KERNEL, INITRAMFS):
            shutil.copyfile(kernel_folder / name, content / name)
        _require_room(recipe, "boot_mib", recipe.layout.boot_mib, fat_mib(content))
        make_fat(
            at.folder / BOOT_IMAGE,
            content,
            size_bytes=recipe.layout.boot_mib * MIB,
            volume_id=identity.boot_volume_id,
            label="BOOT",
            epoch_s=recipe.suite.epoch_s,
            log=at.log,
        )
        shutil.copyfile(content / "cmdline.txt", at.folder / "cmdline.txt")
        shutil.rmtree(root)

    return Stage("boot", inputs, make)


def _system(recipe: Recipe, provisioned: Stage, folder: Path) -> Stage:
    identity = Identity.of(recipe.name)
    inputs = {
        _stage(provisioned): provisioned.key,
        "size": str(recipe.layout.system_mib),
        "uuid": str(identity.system_uuid),
        "hatfleet code": _code("stages", "ext4", "tree"),
    }

    def make(at: Workplace) -> None:
        root = at.folder / "root"
        # Not removed afterwards: that would give the folder the time of this build.
        tree.unpack(folder / ARCHIVE, root, at.log, without=f"./{BOOT_FOLDER}/*")
        _require_room(recipe, "system_mib", recipe.layout.system_mib, ext4_mib(root))
        make_ext4(
            at.folder / SYSTEM_IMAGE,
            root,
            size_bytes=recipe.layout.system_mib * MIB,
            identity=identity.system_uuid,
            label="system",
            epoch_s=recipe.suite.epoch_s,
            log=at.log,
        )
        shutil.rmtree(root)

    return Stage("system", inputs, make)


def _disk(recipe: Recipe, boot: Stage, system: Stage, boot_folder: Path, system_folder: Path) -> Stage:
    identity = Identity.of(recipe.name)
    inputs = {
        _stage(boot): boot.key,
        _stage(system): system.key,
        "disk id": identity.disk.ptuuid(TableType.MBR),
        "hatfleet code": _code("stages", "disk/layout", "disk/mbr", "disk/gpt", "disk/writer"),
    }

    def make(at: Workplace) -> None:
        layout = recipe.layout
        partitions = (
            Partition("boot", Kind.FAT, layout.boot_mib * MIB),
            Partition("system", Kind.LINUX, layout.system_mib * MIB),
        )
        contents = {"boot": boot_folder / BOOT_IMAGE, "system": system_folder / SYSTEM_IMAGE}
        write_disk(at.folder / DISK_IMAGE, place(TableType.MBR, partitions, identity.disk), contents)
        with (at.folder / DISK_IMAGE).open("rb") as disk:
            digest = hashlib.file_digest(disk, "sha256").hexdigest()
        (at.folder / DISK_SHA256).write_text(f"{digest}\n")

    return Stage("disk", inputs, make)


def _role_packages(recipe: Recipe, site: Site) -> set[str]:
    names: set[str] = set()
    for role in recipe.roles:
        code = load_role_code(site, role.name)
        if code.packages:
            names.update(code.packages(code.info.settings.model_validate(role.settings)))
    return names


def _require_room(recipe: Recipe, key: str, has_mib: int, needs_mib: int) -> None:
    if needs_mib > has_mib:
        raise InputError(
            f"the partition of {has_mib} MiB is {needs_mib - has_mib} MiB too small for what goes into it",
            where=recipe.where("layout", key),
            hint=f"set layout.{key} to {needs_mib} or more",
        )


def _stage(stage: Stage) -> str:
    """How an explanation names a stage whose output goes into another."""
    return f"stage {stage.name}"


def _code(*names: str) -> str:
    """Return a hash over modules and files of this package, so that a change in how an output is made counts."""
    folder = Path(__file__).parent
    return digest_tree(*(folder / (name if "." in name else f"{name}.py") for name in names))


__all__ = ["BOOT_IMAGE", "DISK_IMAGE", "DISK_SHA256", "SYSTEM_IMAGE", "Stage", "plan"]
