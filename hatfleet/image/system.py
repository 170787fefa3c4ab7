"""Stage system: the root file system as EROFS, and behind it the dm-verity tree that proves every block of it."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.image.tools import Tools

#: Output of the stage: what is written to the system partition, and how to open it.
SYSTEM_IMAGE, VERITY = "system.img", "verity.json"

#: Of EROFS and of dm-verity. 4 KiB is the page size of every kernel we boot or smaller.
BLOCK_BYTES = 4096

#: Physical clusters of 64 KiB at most: a small change of a file moves 2 to 3 % of the blocks, which an update carries,
#: and the image is a tenth larger than with the largest clusters. Fragments would save more and move six times as much.
#: Level 12 would save another tenth, and take ten times as long (76 MB in 10 s, 69 MB in 99 s; edge-virt, two cores).
#: Small files are not within their inodes but in blocks of their own: inodes hold addresses, which move when a file
#: comes in between, and thousands of small files would change with them (docs/decisions/0040-fast-changes.md).
_LAYOUT = ("-zzstd,level=3", "-C65536", "-Ededupe,noinline_data")


@dataclass(frozen=True)
class Verity:
    """What it takes to open the system partition."""

    root_hash: str
    """64 hexadecimal digits: the sha256 that stands for every block."""
    salt: str
    data_blocks: int
    """Size of the EROFS file system, in blocks of 4096 bytes; the tree's header is the next block."""

    def kernel_arguments(self) -> tuple[str, ...]:
        """Return the kernel arguments that the initramfs opens the partition with."""
        return f"roothash={self.root_hash}", f"hatfleet.verity={self.data_blocks}:{self.salt}"


def make_system(work: Path, *, archive: Path, name: str, epoch_s: int, tools: Tools, log: Path) -> Verity:
    """Make :data:`SYSTEM_IMAGE` and :data:`VERITY` from a tar archive.

    Salt and UUIDs follow from the content of the archive, so that the same content gives the same bytes and another
    content another root hash.

    Args:
        work: Receives the output.
        archive: The root file system.
        name: Of the image: two images with the same content have different salts.
        epoch_s: Time of every file, seconds since 1970.
        tools: Where mkfs.erofs and veritysetup come from.
        log: Receives what the tools print.

    Raises:
        CommandError: a tool failed.
        HatfleetError: a tool left something else than it should have.
    """
    with archive.open("rb") as handle:
        content = hashlib.file_digest(handle, "sha256").hexdigest()
    salt = hashlib.sha256(f"{name}/{content}/salt".encode()).hexdigest()
    erofs_id, verity_id = (str(uuid.uuid5(uuid.NAMESPACE_OID, f"{content}/{what}")) for what in ("erofs", "verity"))
    image = work / SYSTEM_IMAGE
    make = ["mkfs.erofs", "--quiet", "--tar=f", *_LAYOUT, f"-b{BLOCK_BYTES}", f"-T{epoch_s}", "--all-time"]
    tools.run([*make, "-U", erofs_id, image, archive], reads=[archive], writes=[work], log=log)
    size = image.stat().st_size
    if size % BLOCK_BYTES:
        raise HatfleetError(f"mkfs.erofs left {size} bytes, not whole blocks of {BLOCK_BYTES}")
    command = ["veritysetup", "format", f"--salt={salt}", f"--uuid={verity_id}", "--hash=sha256"]
    command += [f"--data-block-size={BLOCK_BYTES}", f"--hash-block-size={BLOCK_BYTES}"]
    command += [f"--data-blocks={size // BLOCK_BYTES}", f"--hash-offset={size}", str(image), str(image)]
    said = tools.run(command, writes=[work], log=log).stdout.decode()
    found = re.search(r"^Root hash:\s+([0-9a-f]{64})$", said, re.MULTILINE)
    if not found:
        raise HatfleetError(f"veritysetup printed no root hash: {said.strip()}")
    verity = Verity(found[1], salt, size // BLOCK_BYTES)
    (work / VERITY).write_text(json.dumps(asdict(verity), indent=1) + "\n")
    return verity


def read_verity(folder: Path) -> Verity:
    """Return what a finished stage says of its image."""
    return Verity(**json.loads((folder / VERITY).read_text()))
