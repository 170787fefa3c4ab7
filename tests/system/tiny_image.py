"""Releases as builds write them, with tiny contents: real FATs, a real EROFS with its dm-verity tree, a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatfleet.image.data import blank_data
from hatfleet.image.disk import TableType, place, write_disk
from hatfleet.image.inspect import FILES_SUFFIX, files_of_archive, write_files
from tests.unit.disk_images import IDS, sizes, tool

#: What the programs that make tiny images must be there for.
TOOLS = ("mkfs.erofs", "mkfs.vfat", "mcopy", "veritysetup")


@dataclass
class TinyRelease:
    """What goes into a release; ``make`` writes it."""

    folder: Path
    version: str = "1"
    table: TableType = TableType.MBR
    files: dict[str, str] = field(default_factory=lambda: {"etc/hostname": "tiny\n", "usr/bin/tool": "#!/bin/sh\n"})
    modes: dict[str, int] = field(default_factory=lambda: {"usr/bin/tool": 0o755})
    boot: dict[str, str] = field(default_factory=lambda: {"config.txt": "[all]\n", "overlays/one.dtbo": "d" * 3000})
    packages: dict[str, str] = field(default_factory=lambda: {"linux-image-6.12-arm64": "6.12-1", "zlib1g": "1.3"})
    roles: dict[str, dict[str, str]] = field(default_factory=lambda: {"base": {"code": "c" * 32, "settings": "5" * 32}})
    with_list: bool = True
    system_mib: int = 8

    @property
    def image(self) -> Path:
        return self.folder / f"tiny-{self.version}.img"

    def make(self) -> Path:
        """Write the release; return its folder."""
        self.folder.mkdir(parents=True)
        work = self.folder / "work"
        root_hash = self._system(work)
        for slot in ("a", "b"):
            self.boot[f"cmdline-{slot}.txt"] = f"ro root=/dev/mapper/root roothash={root_hash} hatfleet.slot={slot}\n"
        contents = {
            "bootcfg": self._fat(work, "bootcfg", {"autoboot.txt": "[all]\n"}),
            "boot_a": self._fat(work, "boot_a", self.boot),
            "system_a": work / "system.img",
        }
        layout = place(self.table, sizes(8, 8, 8, self.system_mib, self.system_mib, 8), IDS)
        write_disk(self.image, layout, contents, blank_data())
        (self.folder / "manifest.json").write_text(json.dumps(self._manifest(root_hash)))
        if self.with_list:
            tool("tar", "-C", work / "root", "--format=posix", "--sort=name", "-cf", work / "root.tar", ".")
            write_files(files_of_archive(work / "root.tar"), self.folder / f"tiny-{self.version}{FILES_SUFFIX}")
        shutil.rmtree(work)
        return self.folder

    def _system(self, work: Path) -> str:
        root = work / "root"
        for path, text in self.files.items():
            put(root / path, text, self.modes.get(path, 0o644))
        image = work / "system.img"
        tool("mkfs.erofs", "-T0", "-U", "6c1f8b0a-7d5e-4b7c-9a52-0d6f3f1f7a35", image, root)
        offset = image.stat().st_size
        options = ("--salt=00", "--uuid=6c1f8b0a-7d5e-4b7c-9a52-0d6f3f1f7a35", f"--hash-offset={offset}")
        said = tool("veritysetup", "format", *options, image, image)
        return said.split("Root hash:")[1].split()[0]

    def _fat(self, work: Path, name: str, files: dict[str, str]) -> Path:
        image, tree = work / f"{name}.vfat", work / name
        for path, text in files.items():
            put(tree / path, text, 0o644)
        tool("mkfs.vfat", "--invariant", "-C", image, "8192")
        # The same release twice gives the same bytes.
        for path in (*tree.rglob("*"), tree):
            os.utime(path, (1e9, 1e9))
        tool("mcopy", "-s", "-m", "-i", image, *tree.iterdir(), "::/")
        return image

    def _manifest(self, root_hash: str) -> dict[str, Any]:
        digest = hashlib.sha256(self.image.read_bytes()).hexdigest()
        return {
            "schema": 1,
            "name": "tiny",
            "version": self.version,
            "platform": "virt",
            "arch": "arm64",
            "suite": "trixie",
            "image": self.image.name,
            "sha256": digest,
            "packages": [{"name": n, "version": v, "arch": "arm64"} for n, v in self.packages.items()],
            "inputs": {"roles": self.roles},
            "verity": {"root_hash": root_hash},
            "artefacts": {self.image.name: {"sha256": digest, "size_bytes": self.image.stat().st_size}},
            "of a later version": "not known yet",
        }


def put(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def has_tools() -> bool:
    return all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in TOOLS)
