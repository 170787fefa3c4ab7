"""Putting an environment together from wheels: a tree of files, and a tar archive of it, the same bytes every time.

Nothing of the wheels is run. Each file is checked against its wheel's own RECORD; the RECORD written into the tree
names what is there, without what was left out.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.sources import WheelFile
from installer.utils import Scheme, copyfileobj_with_hashing

from hatfleet.common.errors import HatfleetError, Where
from hatfleet.runtimes.hatserve import EPOCH_S, NAME
from hatfleet.runtimes.parts import left_out
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel

#: Where the environment lies on a device.
PREFIX = "/opt/hatserve"

#: What every process of the environment has: onnxruntime 1.29 and newer send telemetry unless it is set before they
#: are initialised (Privacy.md of its wheel).
TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"

#: Where Debian's packages have their modules: hailo_platform comes from one.
SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"

#: Read by the interpreter at its start, before any program: an import that nothing can forget.
_TELEMETRY_PTH = f'import os; os.environ["{TELEMETRY_VARIABLE}"] = "1"\n'

_LAUNCHER = """\
#!{prefix}/bin/python3 -I
import os
import sys

os.environ["{variable}"] = "1"

from hatserve.cli.main import main

sys.exit(main())
"""

_PYVENV = """\
home = /usr/bin
include-system-site-packages = false
version = {python}
"""

#: Where files of a wheel go that belong into site-packages.
_LIBRARIES = ("purelib", "platlib")

#: Programs and headers of packages, which nobody on a device calls or compiles with.
_UNWANTED = ("scripts", "headers")


def site_packages(target: Target) -> str:
    """Return where modules lie in the environment."""
    return f"lib/python{target.python}/site-packages"


def compose(root: Path, target: Target, wheels: Sequence[Wheel], *, prefix: str = PREFIX, system: bool = False) -> None:
    """Make the tree of an environment, without bytecode.

    Args:
        root: The folder to make.
        target: What it runs on.
        wheels: What is in it; hatserve is one of them.
        prefix: Where it will lie on the device.
        system: Whether it sees Debian's own Python packages, behind its own.

    Raises:
        HatfleetError: a wheel is damaged, or wants files outside of site-packages.
    """
    packages = root / site_packages(target)
    packages.mkdir(parents=True)
    for wheel in wheels:
        own = _own_files(prefix, system=system) if wheel.name == NAME else {}
        _install(wheel, packages, own)
    _write(root / "pyvenv.cfg", _PYVENV.format(python=target.python).encode())
    (root / "bin" / "python3").symlink_to("/usr/bin/python3")


def tree_bytes(root: Path) -> int:
    """Return the size of all files of a tree."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def pack(root: Path, archive: Path) -> None:
    """Write a tree as a tar archive compressed by gzip; its bytes depend on nothing but the tree."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in [root, *sorted(root.rglob("*"))]:
            tar.add(path, "." if path == root else f"./{path.relative_to(root)}", recursive=False, filter=_normal)


def _normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH_S
    member.mode = 0o777 if member.issym() else 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _own_files(prefix: str, *, system: bool) -> dict[str, bytes]:
    """Return what is added to hatserve's wheel, by path from site-packages."""
    launcher = _LAUNCHER.format(prefix=prefix, variable=TELEMETRY_VARIABLE)
    files = {"../../../bin/hatserve": launcher.encode(), "hatfleet_telemetry.pth": _TELEMETRY_PTH.encode()}
    return files | ({"hatfleet_system.pth": f"{SYSTEM_PACKAGES}\n".encode()} if system else {})


def _install(wheel: Wheel, packages: Path, own: dict[str, bytes]) -> None:
    try:
        with WheelFile.open(wheel.path) as source:
            source.validate_record()
            install(source, _SitePackages(wheel, packages, own), {"INSTALLER": b"hatfleet\n"})
    except (InstallerError, OSError, ValueError) as error:
        raise HatfleetError(f"the wheel is damaged: {error}", where=Where(wheel.path)) from error


class _SitePackages(WheelDestination):
    """Receives a wheel's files and leaves out what a device does not need."""

    def __init__(self, wheel: Wheel, packages: Path, own: dict[str, bytes]) -> None:
        self._wheel, self._packages, self._own = wheel, packages, own

    def write_script(self, name: str, module: str, attr: str, section: object) -> RecordEntry:
        """Leave out a package's program; that of hatserve is one of its own files."""
        del module, attr, section
        return RecordEntry(name, None, None)

    def write_file(
        self,
        scheme: Scheme,
        path: str | os.PathLike[str],
        stream: BinaryIO,
        is_executable: bool,  # noqa: FBT001  # the signature is installer's
    ) -> RecordEntry:
        """Write a file, or leave it out."""
        del is_executable  # nothing in site-packages is called as a program
        name = str(path)
        if scheme not in (*_LIBRARIES, *_UNWANTED) or not _stays_inside(name):
            raise HatfleetError(f"it wants to write {name} outside of site-packages", where=Where(self._wheel.path))
        if scheme in _UNWANTED or left_out(self._wheel.name, name):
            return RecordEntry(name, None, None)
        target = self._packages / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise HatfleetError(f"{name} is in two wheels", where=Where(self._wheel.path))
        with target.open("wb") as handle:
            digest, size = copyfileobj_with_hashing(stream, handle, "sha256")
        target.chmod(0o644)
        return RecordEntry(name, Hash("sha256", digest), size)

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        """Write RECORD: what was written, and itself."""
        del scheme
        rows = [entry.to_row() for _, entry in records if entry.hash_]
        for name, content in self._own.items():
            _write(self._packages / name, content, 0o755 if "/bin/" in name else 0o644)
            digest, size = copyfileobj_with_hashing(io.BytesIO(content), io.BytesIO(), "sha256")
            rows.append(RecordEntry(name, Hash("sha256", digest), size).to_row())
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*sorted(rows), (record_file_path, "", "")])
        _write(self._packages / record_file_path, text.getvalue().encode())


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
