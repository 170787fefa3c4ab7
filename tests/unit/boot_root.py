"""Root file systems with what the firmware needs of a platform, tiny."""

from __future__ import annotations

import gzip
from pathlib import Path

from hatfleet.image.platforms import Platform

KERNEL = "6.18.34+rpt-rpi-2712"

#: A plain arm64 kernel's header: code, then the magic number at byte 56.
ARM64_IMAGE = b"MZ".ljust(56, b"\0") + b"ARM\x64" + b"the kernel"
GZIP_IMAGE = gzip.compress(ARM64_IMAGE, mtime=0)


def boot_root(root: Path, platform: Platform, *, kernel: bytes = ARM64_IMAGE, version: str = KERNEL) -> Path:
    """Make a root file system with a kernel and every file that the platform requires."""
    put(root / f"boot/vmlinuz-{version}", kernel)
    for source in platform.boot_sources:
        for name in source.required:
            path = f"{source.folder.format(kernel=version)}/{name}"
            put(root / path, path.encode())
    return root


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
