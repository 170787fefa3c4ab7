"""The table of differences that a platform is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Platform:
    """What an image needs for one kind of machine."""

    name: str
    arch: str
    """Debian's name of the processor architecture."""
    packages: tuple[str, ...]
    """Kernel and whatever else only this machine needs."""
    kernel_arguments: tuple[str, ...]
    """Arguments of this machine; the root file system's are added."""
    initramfs_modules: tuple[str, ...]
    """Kernel modules without which the root file system cannot be mounted; what they depend on comes along."""
    lab: bool
    """Whether the lab can run it, and its key may therefore be put into an image."""
