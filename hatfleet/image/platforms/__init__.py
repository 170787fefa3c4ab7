"""Platforms: what differs between the machines an image can be built for, one module each."""

from __future__ import annotations

from hatfleet.image.platforms.model import Platform
from hatfleet.image.platforms.virt import VIRT

#: Every platform by the name a recipe gives it.
PLATFORMS = {platform.name: platform for platform in (VIRT,)}

__all__ = ["PLATFORMS", "Platform"]
