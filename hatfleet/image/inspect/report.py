"""What is in an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.data import MARK, MARK_OFFSET_BYTES
from hatfleet.image.disk import DiskLayout, Placed, TableType, read_table
from hatfleet.image.inspect.contents import Content, argument, boot_file_text, read_content
from hatfleet.image.inspect.source import ArtefactView, PackageView, RoleView, Source, find_source
from hatfleet.image.tools import Tools

#: Packages whose names begin so are kernels.
_KERNEL = "linux-image-"

SYSTEM, BOOT = "system_a", "boot_a"


@dataclass(frozen=True)
class PartitionReport:
    """A partition and what is on it."""

    placed: Placed
    content: Content


@dataclass(frozen=True)
class ImageReport:
    """What is in an image; empty fields are not known without a manifest."""

    image: Path
    name: str
    version: str
    platform: str
    arch: str
    suite: str
    kernel: str
    """Name and version of the kernel's package."""
    table: TableType
    ptuuid: str
    size_bytes: int
    allocated_bytes: int
    """What the image takes on this machine's disk: holes take nothing."""
    warnings: tuple[str, ...]
    """What is wrong with the partition table without making it unusable."""
    partitions: tuple[PartitionReport, ...]
    data_unmade: bool
    """Whether the data partition is marked as one that the device has yet to make."""
    root_hash: str
    """Root hash of the system partition, as the kernel command line of slot A says it, or else the manifest."""
    command_lines: Mapping[str, str]
    """Kernel command line of each slot, as it stands on the boot partition."""
    roles: Mapping[str, RoleView]
    packages: tuple[PackageView, ...]
    artefacts: Mapping[str, ArtefactView]

    def partition(self, name: str) -> PartitionReport | None:
        """Return the partition of a name, or None."""
        return next((one for one in self.partitions if one.placed.name == name), None)


def inspect_image(path: Path, tools: Tools) -> ImageReport:
    """Say what is in an image.

    Args:
        path: An image file, or the folder that a build wrote.
        tools: Runs mtools.

    Raises:
        InputError: there is no image, or its partition table or manifest is damaged.
        HatfleetError: a FAT in it is damaged.
    """
    return report_of(find_source(path), tools)


def report_of(source: Source, tools: Tools) -> ImageReport:
    """Say what is in an image whose place is known; see :func:`inspect_image`."""
    found = read_table(source.image)
    layout, manifest = found.layout, source.manifest
    partitions = tuple(
        PartitionReport(placed, read_content(source.image, placed, tools)) for placed in layout.partitions
    )
    lines = _command_lines(source.image, partitions, tools)
    root_hash = argument(lines.get("a", ""), "roothash")
    if root_hash is None and manifest and manifest.verity:
        root_hash = manifest.verity.root_hash
    packages = manifest.packages if manifest else ()
    status = source.image.stat()
    return ImageReport(
        image=source.image,
        name=manifest.name if manifest else "",
        version=manifest.version if manifest else "",
        platform=manifest.platform if manifest else "",
        arch=manifest.arch if manifest else "",
        suite=manifest.suite if manifest else "",
        kernel=", ".join(f"{one.name} {one.version}" for one in packages if one.name.startswith(_KERNEL)),
        table=layout.table,
        ptuuid=layout.ptuuid,
        size_bytes=layout.size_bytes,
        allocated_bytes=status.st_blocks * 512,
        warnings=found.warnings,
        partitions=partitions,
        data_unmade=_has_mark(source.image, layout),
        root_hash=root_hash or "",
        command_lines=lines or (manifest.command_lines if manifest else {}),
        roles=manifest.inputs.roles if manifest else {},
        packages=packages,
        artefacts=manifest.artefacts if manifest else {},
    )


def _command_lines(image: Path, partitions: tuple[PartitionReport, ...], tools: Tools) -> dict[str, str]:
    """Read the command lines that lie open on the boot partition (with a secure-boot key they are inside boot.img)."""
    boot = next((one for one in partitions if one.placed.name == BOOT), None)
    if boot is None:
        return {}
    known = {file.path for file in boot.content.files}
    lines: dict[str, str] = {}
    for slot in ("a", "b"):
        if (name := f"cmdline-{slot}.txt") in known:
            lines[slot] = boot_file_text(image, boot.placed, name, tools).strip()
    return lines


def _has_mark(image: Path, layout: DiskLayout) -> bool:
    first = min((placed.start_bytes for placed in layout.partitions), default=0)
    if first < MARK_OFFSET_BYTES + len(MARK):
        return False
    with image.open("rb") as handle:
        handle.seek(MARK_OFFSET_BYTES)
        return handle.read(len(MARK)) == MARK
