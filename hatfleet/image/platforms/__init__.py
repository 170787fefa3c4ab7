"""Platforms: what differs between the machines an image can be built for, one module each."""

from __future__ import annotations

from hatfleet.image.platforms.model import Archive, BootSource, Choice, Effect, Platform, RootFile
from hatfleet.image.platforms.options import PlatformOptions
from hatfleet.image.platforms.rpi4_debian import RPI4_DEBIAN
from hatfleet.image.platforms.rpi5 import RPI5
from hatfleet.image.platforms.virt import VIRT

#: Every platform by the name a recipe gives it.
PLATFORMS = {platform.name: platform for platform in (VIRT, RPI5, RPI4_DEBIAN)}

__all__ = [
    "PLATFORMS",
    "Archive",
    "BootSource",
    "Choice",
    "Effect",
    "Platform",
    "PlatformOptions",
    "RootFile",
]
