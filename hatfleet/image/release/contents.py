"""The files of a boot partition, read from a disk image."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run

#: With a secure-boot key, everything but this image and its signature lies inside of it.
BOOT_IMAGE, BOOT_SIGNATURE = "boot.img", "boot.sig"


def require_tools() -> None:
    """Make sure that the programs are there that read images.

    Raises:
        MissingToolError: one is not.
    """
    for tool in ("mdir", "mcopy"):
        require_tool(tool, "mtools")


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
