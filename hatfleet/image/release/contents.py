"""What is inside a disk image, read from it: the partition table and the files of a boot partition."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run

_SECTOR_BYTES = 512

#: Types of an extended partition: the logical ones lie in it, it holds nothing itself.
_EXTENDED = ("5", "f", "85")

#: With a secure-boot key, everything but this image and its signature lies inside of it.
BOOT_IMAGE, BOOT_SIGNATURE = "boot.img", "boot.sig"


@dataclass(frozen=True)
class FoundPartition:
    """A partition as the table of a disk image has it."""

    number: int
    start_bytes: int
    size_bytes: int
    partuuid: str
    name: str | None
    """Only GPT has names."""


@dataclass(frozen=True)
class FoundTable:
    """A partition table without the extended partition."""

    kind: str
    """``mbr`` or ``gpt``."""
    partitions: tuple[FoundPartition, ...]


def require_tools() -> None:
    """Make sure that the programs are there that read images.

    Raises:
        MissingToolError: one is not.
    """
    require_tool("sfdisk", "fdisk")
    for tool in ("mdir", "mcopy"):
        require_tool(tool, "mtools")


def read_table(image: Path) -> FoundTable:
    """Read the partition table of a disk image.

    Raises:
        HatfleetError: there is none that sfdisk can read.
    """
    done = run([require_tool("sfdisk", "fdisk"), "--json", image.resolve()], env=_environment(), check=False)
    try:
        table = json.loads(done.stdout)["partitiontable"]
    except (ValueError, KeyError) as error:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no partition table"])[-1]
        raise HatfleetError(f"the partition table cannot be read: {reason}") from error
    kind = {"dos": "mbr", "gpt": "gpt"}.get(table["label"])
    if kind is None:
        raise HatfleetError(f"the partition table is of the type {table['label']}, allowed are MBR and GPT")
    prefix = f"{int(table['id'], 16):08x}" if kind == "mbr" else ""
    found = []
    for entry in table.get("partitions", []):
        if kind == "mbr" and entry["type"] in _EXTENDED:
            continue
        number = int(entry["node"].removeprefix(str(image.resolve())).lstrip("p"))
        partuuid = entry["uuid"].lower() if kind == "gpt" else f"{prefix}-{number:02d}"
        start, size = entry["start"] * _SECTOR_BYTES, entry["size"] * _SECTOR_BYTES
        found.append(FoundPartition(number, start, size, partuuid, entry.get("name") if kind == "gpt" else None))
    return FoundTable(kind, tuple(found))


@dataclass(frozen=True)
class BootFiles:
    """A FAT file system in a file, which mtools can read."""

    image: Path
    start_bytes: int = 0

    def names(self) -> tuple[str, ...]:
        """Return the names in the root folder.

        Raises:
            CommandError: it is no FAT file system.
        """
        done = run([require_tool("mdir", "mtools"), "-b", "-i", self._where, "::/"], env=_environment())
        lines = done.stdout.decode(errors="replace").splitlines()
        return tuple(line.strip().removeprefix("::/").rstrip("/") for line in lines if line.strip())

    def read(self, name: str) -> bytes:
        """Return the content of a file in the root folder.

        Raises:
            HatfleetError: there is no such file.
        """
        try:
            return run(
                [require_tool("mcopy", "mtools"), "-i", self._where, f"::/{name}", "-"], env=_environment()
            ).stdout
        except CommandError as error:
            raise HatfleetError(f"there is no readable file {name} on it") from error

    @contextmanager
    def inner(self) -> Iterator[BootFiles]:
        """Return the boot files proper: those in boot.img where there is one, else these."""
        if BOOT_IMAGE not in self.names():
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="hatfleet-") as folder:
            copy = Path(folder) / BOOT_IMAGE
            copy.write_bytes(self.read(BOOT_IMAGE))
            yield BootFiles(copy)

    @property
    def _where(self) -> str:
        return f"{self.image.resolve()}@@{self.start_bytes}"


def _environment() -> dict[str, str]:
    # Nothing of the user's own mtools configuration or language may change what is read.
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC", "MTOOLSRC": os.devnull}
