"""Stage boot: the FAT file systems that the firmware reads."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from hatfleet.common.errors import InputError
from hatfleet.image.bootfiles import (
    BOOT_PARTITIONS,
    BootFile,
    autoboot_txt,
    boot_image,
    boot_sig,
    cmdline,
    cmdline_file,
    config_txt,
    load_signing_key,
    ramdisk_config_txt,
    write_tree,
)
from hatfleet.image.disk import MIB
from hatfleet.image.fat import make_fat, tree_mib
from hatfleet.image.identity import Identity
from hatfleet.image.provision import BOOT_CONTENT
from hatfleet.image.recipe import Recipe
from hatfleet.image.system import Verity
from hatfleet.image.tools import Tools

#: Outputs of the stage.
BOOTCFG_IMAGE, BOOT_IMAGE = "bootcfg.vfat", "boot.vfat"

#: The kernel arguments that roles have declared. The command lines of the slots are made from it.
COMMON_CMDLINE = "cmdline.txt"


def make_bootcfg(work: Path, *, recipe: Recipe, identity: Identity, tools: Tools, log: Path) -> None:
    """Make the file system that says which slot boots."""
    content = work / "bootcfg"
    write_tree(content, (), {"autoboot.txt": autoboot_txt()})
    make_fat(
        work / BOOTCFG_IMAGE,
        content,
        size_bytes=recipe.layout.bootcfg_mib * MIB,
        volume_id=identity.bootcfg_volume_id,
        label="BOOTCFG",
        epoch_s=recipe.suite.epoch_s,
        tools=tools,
        log=log,
    )
    shutil.rmtree(content)


def make_boot(
    work: Path,
    *,
    recipe: Recipe,
    identity: Identity,
    kernel: Path,
    provisioned: Path,
    verity: Verity,
    tools: Tools,
    log: Path,
) -> None:
    """Make the file system of a slot: it is the same for both.

    Args:
        work: Receives :data:`BOOT_IMAGE`, and the command lines as files.
        recipe: What is being built.
        identity: Identifiers.
        kernel: Folder with what the firmware loads.
        provisioned: Output of the stage provision.
        verity: How the system partition is opened.
        tools: Where mkfs.vfat and mtools come from.
        log: Receives what the tools print.

    Raises:
        InputError: the partition is too small, or the secure-boot key is not one.
        HatfleetError: the kernel arguments are too long or not plain.
    """
    platform, options = recipe.platform, recipe.options
    common = (provisioned / BOOT_CONTENT / COMMON_CMDLINE).read_text().split()
    layout = recipe.layout.place(identity.disk)
    systems = ":".join(layout.partition(f"system_{slot}").partuuid for slot in BOOT_PARTITIONS)
    arguments = (*common, *verity.kernel_arguments(), f"hatfleet.system={systems}")
    texts = {cmdline_file(platform, slot): cmdline(platform, arguments, slot) for slot in BOOT_PARTITIONS}
    for name, text in texts.items():
        (work / name).write_bytes(text)
    # What the roles declared, for those who look: the firmware reads the file of its slot.
    texts.setdefault(COMMON_CMDLINE, (" ".join(common) + "\n").encode("ascii"))
    signed = recipe.secure_boot_key is not None
    texts["config.txt"] = config_txt(platform, options, signed=signed)
    files = [BootFile(str(path.relative_to(kernel)), path) for path in sorted(kernel.rglob("*")) if path.is_file()]
    content = work / "boot"
    if recipe.secure_boot_key is None:
        write_tree(content, files, texts)
    else:
        key = load_signing_key(recipe.secure_boot_key.read_bytes(), None, recipe.where("secure_boot", "key"))
        write_tree(content, (), {"config.txt": ramdisk_config_txt(), COMMON_CMDLINE: texts[COMMON_CMDLINE]})
        volume_id, epoch_s = identity.boot_volume_id, recipe.suite.epoch_s
        image = content / "boot.img"
        sha256 = boot_image(image, files, texts, volume_id=volume_id, epoch_s=epoch_s, tools=tools, log=log)
        (content / "boot.sig").write_bytes(boot_sig(sha256, key, epoch_s))
    require_room(recipe, "boot_mib", tree_mib(content))
    make_fat(
        work / BOOT_IMAGE,
        content,
        size_bytes=recipe.layout.boot_mib * MIB,
        volume_id=identity.boot_volume_id,
        label="BOOT",
        epoch_s=recipe.suite.epoch_s,
        tools=tools,
        log=log,
    )
    shutil.rmtree(content)


def trusted_key(recipe: Recipe) -> str:
    """Return a hash of the secure-boot key file, for the key of the stage."""
    if recipe.secure_boot_key is None:
        return "none"
    return hashlib.sha256(recipe.secure_boot_key.read_bytes()).hexdigest()


def require_room(recipe: Recipe, key: str, needs_mib: int) -> None:
    """Check that a partition is large enough for what goes into it.

    Args:
        recipe: Says how large it is.
        key: Under which key of ``layout``.
        needs_mib: What it needs, MiB.

    Raises:
        InputError: it is too small; the error says by how much.
    """
    has_mib = getattr(recipe.layout, key)
    if needs_mib > has_mib:
        raise InputError(
            f"the partition of {has_mib} MiB is {needs_mib - has_mib} MiB too small for what goes into it",
            where=recipe.where("layout", key),
            hint=f"set layout.{key} to {needs_mib} or more",
        )
