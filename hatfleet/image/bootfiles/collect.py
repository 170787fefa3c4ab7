"""Which files of a root file system go onto the boot partition, and under which names."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hatfleet.common.errors import InputError
from hatfleet.image.bootfiles.texts import KERNEL_FILE
from hatfleet.image.platforms import BootSource, Platform, PlatformOptions

#: What the boot loaders start: a plain arm64 kernel (magic number at byte 56, Documentation/arch/arm64/booting.rst) or
#: one packed with gzip, which they unpack.
_ARM64_MAGIC, _ARM64_MAGIC_AT, _GZIP_MAGIC = b"ARM\x64", 56, b"\x1f\x8b"


@dataclass(frozen=True)
class BootFile:
    """A file of the boot partition."""

    name: str
    """Path on the partition, ``/`` between folders."""
    source: Path
    """Where its content is."""


def collect(root: Path, platform: Platform, options: PlatformOptions) -> tuple[BootFile, ...]:
    """Return what the boot partition takes from a root file system, sorted by name.

    Kernel, device trees, overlays and the board's firmware are the packages'; initramfs, config.txt and the command
    lines are not among them.

    Raises:
        InputError: there is not exactly one kernel, the firmware could not start it, or a file that the platform needs
            is missing. The error names the file and the package that should have brought it.
    """
    root = root.resolve()
    package = platform.kernel_package(options)
    version = _kernel_version(root, package)
    kernel = _inside(root, root / f"boot/vmlinuz-{version}")
    _require_bootable(kernel, version)
    files = {KERNEL_FILE: kernel}
    for source in platform.boot_sources:
        for name, path in _matches(root, source, version):
            files[name] = path
    return tuple(BootFile(name, path) for name, path in sorted(files.items()))


def write_tree(folder: Path, files: Iterable[BootFile], contents: Mapping[str, bytes]) -> None:
    """Write the content of a boot partition into a new folder.

    Args:
        folder: Where; made with what leads to it.
        files: What :func:`collect` found.
        contents: Further files by name, whole: config.txt, the command lines, the initramfs.

    Raises:
        FileExistsError: two files have one name.
    """
    folder.mkdir(parents=True)
    for file in files:
        with _create(folder / file.name) as target, file.source.open("rb") as source:
            shutil.copyfileobj(source, target)
    for name, content in contents.items():
        with _create(folder / name) as target:
            target.write(content)


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _kernel_version(root: Path, package: str) -> str:
    found = sorted(path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*"))
    if not found:
        raise InputError(
            "there is no kernel: /boot/vmlinuz-* is missing",
            hint=f"the package {package} brings it; check the packages and options of the recipe",
        )
    if len(found) > 1:
        raise InputError(
            f"an image has one kernel, found {len(found)}: {', '.join(found)}",
            hint=f"{package} is the platform's: remove other linux-image packages from the recipe",
        )
    return found[0]


def _require_bootable(kernel: Path, version: str) -> None:
    with kernel.open("rb") as handle:
        head = handle.read(_ARM64_MAGIC_AT + len(_ARM64_MAGIC))
    if not head.startswith(_GZIP_MAGIC) and head[_ARM64_MAGIC_AT:] != _ARM64_MAGIC:
        raise InputError(
            f"the firmware cannot start /boot/vmlinuz-{version}: it is neither a plain arm64 kernel nor packed by gzip",
            hint="an EFI kernel, or one for another processor: check the kernel package of the recipe",
        )


def _matches(root: Path, source: BootSource, version: str) -> Iterator[tuple[str, Path]]:
    folder = source.folder.format(kernel=version)
    found = {path.name: _inside(root, path) for path in sorted((root / folder).glob(source.pattern))}
    for name in source.required:
        if name not in found:
            raise InputError(
                f"/{folder}/{name} is missing, without which the machine does not boot",
                hint=f"the package {source.package.format(kernel=version)} brings it; is its version the right one?",
            )
    for name, path in found.items():
        yield (f"{source.target}/{name}" if source.target else name), path


def _inside(root: Path, path: Path) -> Path:
    """Return a file that a link may lead to, if it lies in the root file system: the rest is the builder's."""
    real = path.resolve()
    if root not in real.parents or not real.is_file():
        raise InputError(
            f"/{path.relative_to(root)} is not a file of the root file system (it leads to {real})",
            hint="check the package that brings it",
        )
    return real
