"""The environment of a device, as it is declared: known by what goes into it before anything is fetched or made."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hatfleet.common.errors import InputError
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import cache_dir
from hatfleet.common.site import Site
from hatfleet.runtimes import hatserve, lock, store
from hatfleet.runtimes.compose import PREFIX, compose, pack, tree_bytes
from hatfleet.runtimes.lock import LockedWheel
from hatfleet.runtimes.target import Target
from hatfleet.runtimes.wheel import Wheel

#: What can run models, and the package that each needs; that of hailo comes from Debian packages of its maker.
BACKENDS = {"onnx": "onnxruntime", "litert": "ai-edge-litert", "hailo": ""}

#: How large the environment with all backends may be, unpacked and without bytecode: 93 MiB on arm64 when this was
#: written. A package that grows beyond it is to be looked at, not waved through.
BUDGET_BYTES = 100 * 1024 * 1024

#: Compiles the modules, on a device or for an image.
FINISH = Path(__file__).parent / "files" / "finish.py"

#: Archives that are kept: a few versions of one environment, or one each of several.
_KEPT = 4

#: Modules that decide what is in the tree: another tree is another environment.
_MAKERS = ("compose.py", "parts.py", "files/finish.py")

#: Hosts of a run ask for the same archive at the same time.
_MAKING = threading.Lock()


@dataclass(frozen=True)
class Environment:
    """An environment for a device: wheels, hatserve, and which backends it has."""

    target: Target
    wheels: tuple[LockedWheel, ...]
    backends: tuple[str, ...]
    """Of BACKENDS, sorted."""
    source: Path
    """Folder of hatserve's sources."""
    prefix: str = PREFIX
    """Where it lies on the device."""

    @cached_property
    def digest(self) -> str:
        """Stands for everything in it."""
        folder = Path(__file__).parent
        makers = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _MAKERS]
        parts = [
            self.target.name,
            self.prefix,
            *self.backends,
            lock.digest(self.wheels),
            hatserve.digest(self.source),
            *makers,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def about(self) -> str:
        """What is in it, for people; with its size when it was made before."""
        names = [wheel.pinned.replace("==", " ") for wheel in self.wheels if hatserve.NAME in wheel.via]
        made = self._about_file
        size = [f"{json.loads(made.read_text())['bytes'] / 1024 / 1024:.0f} MiB"] if made.exists() else []
        return ", ".join([*names, *size])

    def file(self) -> Path:
        """Return its archive; make it when it is not kept.

        Raises:
            HatfleetError: a wheel cannot be fetched, or is damaged.
        """
        with _MAKING, file_lock(cache_dir() / "locks" / "environments", "the environments of devices"):
            if not (self._archive.exists() and self._about_file.exists()):
                self._make()
            self._archive.touch()
            return self._archive

    def unpacked_bytes(self) -> int:
        """Return the size of all files in it, without bytecode.

        Raises:
            HatfleetError: it has to be made, and a wheel cannot be fetched, or is damaged.
        """
        self.file()
        return int(json.loads(self._about_file.read_text())["bytes"])

    @property
    def _archive(self) -> Path:
        return cache_dir() / "environments" / f"{self.digest}.tar.gz"

    @property
    def _about_file(self) -> Path:
        return self._archive.with_suffix(".json")

    def _make(self) -> None:
        folder = self._archive.parent
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
        try:
            wheels = (*store.fetch(self.target, self.wheels), Wheel(hatserve.build_wheel(self.source, work)))
            root = work / "tree"
            compose(root, self.target, wheels, prefix=self.prefix, system="hailo" in self.backends)
            pack(root, work / "archive")
            write_atomic(self._about_file, json.dumps({"bytes": tree_bytes(root)}) + "\n")
            (work / "archive").replace(self._archive)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        made = sorted(folder.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in made[_KEPT:]:
            old.unlink()
            old.with_suffix(".json").unlink(missing_ok=True)


def declared(site: Site, target: Target, backends: Sequence[str]) -> Environment:
    """Return the environment that a site's lock describes.

    Raises:
        InputError: there is no lock, it is older than what hatserve requires, or a backend's package is not in it.
    """
    source = hatserve.source()
    requires = [str(one) for one in hatserve.requirements(source)]
    file = lock.find_lock(site, target)
    locked = lock.read_lock(file, target, requires)
    unused = {package for backend, package in BACKENDS.items() if backend not in backends}
    wheels = locked.without(unused)
    names = {wheel.name for wheel in wheels}
    for backend in backends:
        if BACKENDS[backend] and BACKENDS[backend] not in names:
            raise InputError(f"the lock {file} has no {BACKENDS[backend]}, which the backend {backend} needs")
    return Environment(target, wheels, tuple(sorted(backends)), source)
