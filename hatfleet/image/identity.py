"""Identifiers of an image's disk and file systems, the same at every build of a recipe."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from hatfleet.image.disk import DiskIds, TableType

#: Name space of our identifiers (a random UUID, chosen once).
_NAMESPACE = uuid.UUID("6c1f8b0a-7d5e-4b7c-9a52-0d6f3f1f7a35")


@dataclass(frozen=True)
class Identity:
    """Identifiers derived from the name of a recipe."""

    disk: DiskIds
    """What identifies the disk and, following from that, its partitions."""
    boot_volume_id: int
    """Serial number of the boot file system, 32 bits."""
    system_uuid: uuid.UUID
    """UUID of the system file system, and seed of its directory hashes."""

    @classmethod
    def of(cls, name: str) -> Identity:
        """Return the identifiers of a recipe; a disk signature of zero would mean that there is none."""
        return cls(
            disk=DiskIds(_number(f"{name}/disk") or 1, uuid.uuid5(_NAMESPACE, f"{name}/disk")),
            boot_volume_id=_number(f"{name}/boot"),
            system_uuid=uuid.uuid5(_NAMESPACE, f"{name}/system"),
        )

    @property
    def boot_partuuid(self) -> str:
        """PARTUUID of the boot partition."""
        return self.disk.partuuid(TableType.MBR, 1, "boot")

    @property
    def system_partuuid(self) -> str:
        """PARTUUID of the system partition."""
        return self.disk.partuuid(TableType.MBR, 2, "system")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
