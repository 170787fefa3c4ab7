"""Whether the inside of a disk image is what its manifest says: partitions, command lines, hash tree, payload."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.image.bootfiles import cmdline_file
from hatfleet.image.disk import Placed, read_table
from hatfleet.image.platforms import PLATFORMS
from hatfleet.image.release.contents import BOOT_IMAGE, BOOT_SIGNATURE, BootFiles
from hatfleet.image.release.manifest import SLOTS, Kind, Manifest, PartitionEntry, Slot
from hatfleet.image.release.report import Checks
from hatfleet.image.release.verity import BLOCK_BYTES, check_tree, read_superblock, tree_bytes

#: The slot that a build fills.
BOOT, SYSTEM = "boot_a", "system_a"

#: The kernel argument from which the initramfs takes the root hash.
ROOT_HASH = "roothash="

_PIECE_BYTES = 1024 * 1024


def check_inside(image: Path, manifest: Manifest, checks: Checks, progress: Callable[[str], None]) -> None:
    """Hold the inside of an image against its manifest.

    The partitions are looked for where the manifest has them; that the table has them there, too, is a check.
    """
    with checks.check(image.name, "has the partitions of the manifest"):
        _check_table(image, manifest)
    progress("kernel command lines")
    boot, system = manifest.layout.find(BOOT), manifest.layout.find(SYSTEM)
    if boot:
        _check_boot(BootFiles(image, boot.start_bytes), manifest, checks)
        _check_payload(image, boot, Kind.BOOT, manifest, checks)
    if system:
        with checks.check(SYSTEM, "has the root hash of the manifest"), image.open("rb") as stream:
            offset = manifest.verity.hash_offset_bytes
            blocks = read_superblock(stream, system.start_bytes + offset).data_blocks
            if offset + BLOCK_BYTES + tree_bytes(blocks) > system.size_bytes:
                raise HatfleetError(f"data and hash tree of {blocks} blocks do not fit into the partition")
            check_tree(
                stream,
                system.start_bytes,
                offset,
                manifest.verity.root_hash,
                lambda count: progress(f"hash tree, {100 * count // offset} %"),
            )
        _check_payload(image, system, Kind.SYSTEM, manifest, checks)
    with checks.check(image.name, "has a boot and a system partition"):
        if not boot or not system:
            raise HatfleetError(f"the manifest names no partition {SYSTEM if boot else BOOT}")


def _check_table(image: Path, manifest: Manifest) -> None:
    table = read_table(image).layout
    if table.table.value != manifest.layout.table:
        raise HatfleetError(f"found a table of type {table.table}, the manifest has {manifest.layout.table}")
    found = {partition.number: partition for partition in table.partitions}
    wanted = {partition.number: partition for partition in manifest.layout.partitions}
    wrong = [f"{wanted[number].name} is missing" for number in sorted(set(wanted) - set(found))]
    wrong += [f"there is a partition {number} that it does not name" for number in sorted(set(found) - set(wanted))]
    for number in sorted(set(found) & set(wanted)):
        wrong += _differences(found[number], wanted[number])
    if wrong:
        raise HatfleetError("; ".join(wrong))
    size = image.stat().st_size
    if ends := [one.name for one in wanted.values() if one.start_bytes + one.size_bytes > size]:
        raise HatfleetError(f"the image ends before {', '.join(ends)}")


def _differences(found: Placed, wanted: PartitionEntry) -> list[str]:
    pairs = {
        "starts at byte": (found.start_bytes, wanted.start_bytes),
        "has the size": (found.size_bytes, wanted.size_bytes),
        "has the PARTUUID": (found.partuuid, wanted.partuuid),
        "is called": (found.name or wanted.name, wanted.name),
    }
    return [f"{wanted.name} {what} {one}, not {other}" for what, (one, other) in pairs.items() if one != other]


def _check_boot(files: BootFiles, manifest: Manifest, checks: Checks) -> None:
    with checks.check(BOOT, "can be read"), files.inner() as inner:
        platform = PLATFORMS.get(manifest.platform)
        if platform is None:
            raise HatfleetError(
                f"the manifest is for a machine of the kind {manifest.platform}, which is not known here"
            )
        for slot in SLOTS:
            name = cmdline_file(platform, slot)
            with checks.check(f"{BOOT}/{name}", "is as the manifest says, with the root hash"):
                _check_command_line(inner.read(name).decode(errors="replace").strip(), manifest, slot)
        if inner is not files:
            with checks.check(f"{BOOT}/{BOOT_SIGNATURE}", f"is about {BOOT_IMAGE}"):
                # The first line is the digest; the signature is the device's to check, with the key in its fuses.
                first = files.read(BOOT_SIGNATURE).decode(errors="replace").partition("\n")[0].strip()
                if first != hashlib.sha256(files.read(BOOT_IMAGE)).hexdigest():
                    raise HatfleetError(f"it names another digest than {BOOT_IMAGE} has")


def _check_command_line(found: str, manifest: Manifest, slot: Slot) -> None:
    wanted = manifest.command_lines[slot]
    if found != wanted:
        raise HatfleetError(f"found {found!r}, the manifest has {wanted!r}")
    hashes = [word.removeprefix(ROOT_HASH) for word in found.split() if word.startswith(ROOT_HASH)]
    if hashes != [manifest.verity.root_hash]:
        raise HatfleetError(f"found the root hash {' and '.join(hashes) or 'nowhere'}, not {manifest.verity.root_hash}")


def _check_payload(image: Path, partition: PartitionEntry, kind: Kind, manifest: Manifest, checks: Checks) -> None:
    """An update must bring what the image has: the payload is how the partition begins, and the rest is empty."""
    name = manifest.file(kind)
    if name is None:
        return
    with checks.check(name, f"is what {partition.name} holds"), image.open("rb") as stream:
        expected = manifest.artefacts[name]
        stream.seek(partition.start_bytes)
        digest, left = hashlib.sha256(), expected.size_bytes
        while left and (piece := stream.read(min(_PIECE_BYTES, left))):
            digest.update(piece)
            left -= len(piece)
        if left or digest.hexdigest() != expected.sha256:
            raise HatfleetError(f"{partition.name} holds something else")
        left = partition.size_bytes - expected.size_bytes
        while left > 0 and (piece := stream.read(min(_PIECE_BYTES, left))):
            if piece.strip(b"\0"):
                raise HatfleetError(f"{partition.name} holds more than it")
            left -= len(piece)
