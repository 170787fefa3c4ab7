"""Identifiers of an image's disk and file systems, the same at every build of a recipe."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from hatfleet.image.disk import DiskIds

#: Name space of our identifiers (a random UUID, chosen once).
_NAMESPACE = uuid.UUID("6c1f8b0a-7d5e-4b7c-9a52-0d6f3f1f7a35")


@dataclass(frozen=True)
class Identity:
    """Identifiers derived from the name of a recipe."""

    disk: DiskIds
    """What identifies the disk and, following from that, its partitions."""
    bootcfg_volume_id: int
    """Serial number of the file system that says which slot boots, 32 bits."""
    boot_volume_id: int
    """Serial number of the boot file systems, 32 bits: the two slots have the same content."""

    @classmethod
    def of(cls, name: str) -> Identity:
        """Return the identifiers of a recipe; a disk signature of zero would mean that there is none."""
        return cls(
            disk=DiskIds(_number(f"{name}/disk") or 1, uuid.uuid5(_NAMESPACE, f"{name}/disk")),
            bootcfg_volume_id=_number(f"{name}/bootcfg"),
            boot_volume_id=_number(f"{name}/boot"),
        )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
