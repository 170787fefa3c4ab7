"""Stage initramfs: the small root file system that mounts the real one, put together here, with nothing else in it.

It holds a script, klibc's tools and util-linux's findfs from the bootstrapped packages, and the kernel modules that
the platform's table names. Roles have no part in it, so that changing a role does not make it again, and so that what
runs before the root file system is checked stays small enough to read.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.image import cpio, tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.elf import needed_libraries
from hatfleet.image.platforms import Platform

#: Package klibc-utils: tools of a few kilobytes with one small library.
_KLIBC = "usr/lib/klibc/bin"
_KLIBC_TOOLS = ("chroot", "insmod", "mkdir", "mount", "run-init", "sh", "sleep")

#: findfs finds a partition by its PARTUUID, which the kernel does not tell in /sys before 6.13; dmsetup opens dm-verity
#: by a table that says everything, so that no header has to be believed.
_PROGRAMS = ("usr/sbin/dmsetup", "usr/sbin/findfs")

#: What every platform needs to open and mount the root file system.
MODULES = ("dm_verity", "erofs")

#: Keeps what is written to the root file system, on devices to try things on.
OVERLAY = "overlay"

#: The processor's own instructions for SHA-256, if it has them (the second needs the first).
FASTER = ("sha256_arm64?", "sha2_ce?")

#: Where Debian has libraries, first one wins, by architecture.
_LIBRARY_FOLDERS = {"arm64": ("usr/lib/aarch64-linux-gnu", "usr/lib")}

_INIT = Path(__file__).parent / "files" / "init.sh"


def unpack_kernel(work: Path, *, bootstrap: Path, log: Path) -> Path:
    """Unpack the bootstrapped packages into a folder of ``work`` and return it; the caller removes it."""
    root = work / "root"
    tree.unpack(bootstrap / ARCHIVE, root, log, without="./dev/*")
    return root


def initramfs(root: Path, *, platform: Platform, epoch_s: int, writable: bool = False) -> bytes:
    """Return the initramfs for the one kernel of a root file system.

    Args:
        root: The root file system.
        platform: Names the kernel modules that it needs.
        epoch_s: Time of every file, seconds since 1970.
        writable: Whether it lays a writable file system over the verified one.

    Raises:
        HatfleetError: there is not exactly one kernel, or a module or tool is missing.
    """
    modules = root / "usr/lib/modules" / kernel_version(root)
    names = (*platform.initramfs_modules, OVERLAY) if writable else platform.initramfs_modules
    return cpio.archive(entries(root, modules, names, platform.arch), epoch_s)


def entries(root: Path, modules: Path, names: tuple[str, ...], arch: str) -> Iterator[cpio.Entry]:
    """Yield what the initramfs holds.

    Args:
        root: Root file system with the kernel and klibc-utils.
        modules: The kernel's folder of modules in it.
        names: The modules beside those that every platform needs.
        arch: Debian's name of the processor architecture.

    Raises:
        HatfleetError: a module or tool is missing.
    """
    for name in ("bin", "dev", "modules", "new", "proc", "root", "sys", "usr", "usr/lib"):
        yield cpio.folder(name)
    # The kernel opens it for the first program, before anything is mounted.
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.regular("init", _INIT.read_bytes(), 0o755)
    yield cpio.link("lib", "usr/lib")
    for name in _KLIBC_TOOLS:
        yield cpio.regular(f"bin/{name}", _read(root, f"{_KLIBC}/{name}"), 0o755)
    for library in sorted(root.glob("usr/lib/klibc-*.so")):
        yield cpio.regular(f"usr/lib/{library.name}", _read(root, f"usr/lib/{library.name}"), 0o755)
    found: dict[str, bytes] = {}
    for program in _PROGRAMS:
        content = _read(root, program)
        yield cpio.regular(f"bin/{Path(program).name}", content, 0o755)
        found |= libraries(root, arch, content)
    for name, content in sorted(found.items()):
        yield cpio.regular(f"usr/lib/{name}", content, 0o755)
    order = load_order(modules, (*names, *FASTER, *MODULES))
    for path in order:
        packed = modules / path.removesuffix("?")
        content = lzma.decompress(packed.read_bytes()) if packed.suffix == ".xz" else packed.read_bytes()
        yield cpio.regular(f"modules/{_module_file(packed.name)}", content)
    yield cpio.regular("modules/order", "".join(f"{_listed(path)}\n" for path in order).encode())


def libraries(root: Path, arch: str, program: bytes) -> dict[str, bytes]:
    """Return the shared libraries that a program needs, and those that they need, by name.

    Raises:
        HatfleetError: one is missing.
    """
    found: dict[str, bytes] = {}
    wanted = needed_libraries(program)
    while wanted:
        name = wanted.pop()
        if name not in found:
            folder = next((f for f in _LIBRARY_FOLDERS[arch] if (root / f / name).exists()), _LIBRARY_FOLDERS[arch][0])
            found[name] = _read(root, f"{folder}/{name}")
            wanted += needed_libraries(found[name])
    return dict(sorted(found.items()))


def load_order(modules: Path, names: tuple[str, ...]) -> list[str]:
    """Return the files of modules and of all they depend on, in the order in which they load.

    Modules that are built into the kernel need no file. A name that ends in ``?`` is a module that the machine may do
    without; so do the files that come for its sake.

    Raises:
        HatfleetError: the kernel has no such module.
    """
    depends: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        depends[path] = needs.split()
    files = {_module_name(path): path for path in depends}
    builtin = {_module_name(path) for path in (modules / "modules.builtin").read_text().split()}
    order: list[str] = []
    for wanted in names:
        name, mark = wanted.removesuffix("?"), "?" if wanted.endswith("?") else ""
        if name in builtin or (mark and name not in files):
            continue
        if name not in files:
            raise HatfleetError(f"the kernel {modules.name} has no module {name}")
        # modules.dep lists everything a module needs, the deepest last.
        for path in (*reversed(depends[files[name]]), files[name]):
            if path not in order and f"{path}?" not in order:
                order.append(path + mark)
    return order


def kernel_version(root: Path) -> str:
    """Return the version of the one kernel in a root file system.

    Raises:
        HatfleetError: there is none, or there are several.
    """
    versions = sorted(path.name for path in tree.inside(root, "usr/lib/modules").glob("*"))
    if len(versions) != 1:
        found = ", ".join(versions) or "none"
        raise HatfleetError(f"an image has one kernel, found {found}", hint="check the packages of the recipe")
    return versions[0]


def _read(root: Path, path: str) -> bytes:
    found = (root / path).resolve()
    if root.resolve() not in found.parents or not found.is_file():
        raise HatfleetError(f"the root file system has no /{path}, which the initramfs needs")
    return found.read_bytes()


def _module_file(path: str) -> str:
    return Path(path).name.removesuffix(".xz")


def _listed(path: str) -> str:
    """How init.sh reads the name of a module's file: with its ``?``."""
    return _module_file(path.removesuffix("?")) + ("?" if path.endswith("?") else "")


def _module_name(path: str) -> str:
    # The file may be called a-b.ko where the module is called a_b.
    return _module_file(path).removesuffix(".ko").replace("-", "_")
