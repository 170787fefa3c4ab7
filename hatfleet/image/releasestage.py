"""Stage release: what is given away with an image, made from the outputs of the other stages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hatfleet.image.bmap import make_bmap, needed_of_partition
from hatfleet.image.disk import DiskLayout
from hatfleet.image.inspect.files import files_of_archive, write_files
from hatfleet.image.recipe import Recipe
from hatfleet.image.release.inventory import read_inventory
from hatfleet.image.release.manifest import Artefact, Kind
from hatfleet.image.release.sbom import Subject
from hatfleet.image.release.sbom_cyclonedx import cyclonedx
from hatfleet.image.release.sbom_spdx import spdx
from hatfleet.image.tools import Tools

#: Output of the stage beside the files of the release: digest and size of each, and of those that other stages made.
ARTEFACTS = "artefacts.json"


@dataclass(frozen=True)
class Sources:
    """Outputs of other stages that belong to the release, or are described in it."""

    disk: Path
    system: Path
    boot: Path
    bootcfg: Path
    rootfs: Path

    def artefacts(self) -> dict[Kind, Path]:
        """Return the files that are given away as they are."""
        return {Kind.IMAGE: self.disk, Kind.SYSTEM: self.system, Kind.BOOT: self.boot}

    def used_bytes(self, partition: str) -> int:
        """Return how many bytes of a partition have content; 0 when it is empty until the device fills it."""
        contents = {"bootcfg": self.bootcfg, "boot_a": self.boot, "system_a": self.system}
        return contents[partition].stat().st_size if partition in contents else 0


def make_release(work: Path, *, recipe: Recipe, layout: DiskLayout, sources: Sources, tools: Tools, log: Path) -> None:
    """Make compressed image, block map, bills of materials and list of files, and the digests of everything.

    Args:
        work: Receives the files, and :data:`ARTEFACTS`.
        recipe: What is being built.
        layout: Its disk.
        sources: What the other stages made.
        tools: Where zstd comes from.
        log: Receives what it prints.

    Raises:
        CommandError: zstd failed.
        HatfleetError: a package's record is damaged.
    """

    def name(kind: Kind) -> Path:
        return work / kind.of(recipe.name, recipe.version)

    # Two workers always: another number would be as good, but one gives other bytes than several.
    pack = ["zstd", "--quiet", "-9", "-T2", "--no-progress"]
    tools.run([*pack, "-o", name(Kind.COMPRESSED), sources.disk], reads=[sources.disk], writes=[work], log=log)
    needed = [
        needed_of_partition(placed.start_bytes, placed.size_bytes, sources.used_bytes(placed.name))
        for placed in layout.partitions
    ]
    name(Kind.BLOCK_MAP).write_text(make_bmap(sources.disk, needed).render())
    inventory = read_inventory(sources.rootfs)
    subject = Subject(recipe.name, recipe.version, recipe.suite.name, recipe.suite.epoch_s)
    name(Kind.CYCLONEDX).write_text(cyclonedx(subject, inventory))
    name(Kind.SPDX).write_text(spdx(subject, inventory))
    write_files(files_of_archive(sources.rootfs), name(Kind.FILES))
    made = {path.name: path for path in work.iterdir()}
    made |= {kind.of(recipe.name, recipe.version): path for kind, path in sources.artefacts().items()}
    digests = {file: Artefact.of(path).model_dump() for file, path in sorted(made.items())}
    (work / ARTEFACTS).write_text(json.dumps(digests, indent=1) + "\n")


def read_artefacts(folder: Path) -> dict[str, Artefact]:
    """Return what a finished stage says of the files of the release, by name."""
    return {name: Artefact(**entry) for name, entry in json.loads((folder / ARTEFACTS).read_text()).items()}
