"""``manifest.json``: what a release is made from, what is in it, and the digest of every file of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from hatfleet.common.errors import InputError, Where

MANIFEST = "manifest.json"
OS_LIST = "os-list.json"

#: Ends the name of a detached signature, behind the name of the file it is about.
SIGNATURE = ".sig"

#: The schema of manifests that this version writes and reads.
SCHEMA = 1

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, ...] = ("a", "b")

_CHUNK_BYTES = 1024 * 1024


class Kind(StrEnum):
    """What a file of a release is: how its name ends, behind ``NAME-VERSION``."""

    IMAGE = ".img"
    COMPRESSED = ".img.zst"
    BLOCK_MAP = ".img.bmap"
    CYCLONEDX = ".cdx.json"
    SPDX = ".spdx.json"
    PROVENANCE = ".provenance.json"
    FILES = ".files.json.gz"
    """Every path of the root file system."""
    SYSTEM = ".system.img"
    """The system partition's content, for updates."""
    BOOT = ".boot.img"
    """The boot partition's content, for updates."""

    def of(self, name: str, version: str) -> str:
        """Return the file name of this kind in the release of an image."""
        return f"{name}-{version}{self.value}"


# A name that is a path, hidden or begins with a hyphen could lead a reader out of the folder, or to another meaning.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Digests of inputs may be shortened: they tell builds apart, and nothing is verified by them.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
Bytes = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Artefact(_Model):
    """A file of the release."""

    sha256: Sha256
    size_bytes: Bytes

    @classmethod
    def of(cls, path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> Self:
        """Read a file and return its digest and size; ``on_bytes`` hears how far it is.

        Raises:
            OSError: it cannot be read.
        """
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as handle:
            while chunk := handle.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                on_bytes(size)
        return cls(sha256=digest.hexdigest(), size_bytes=size)


class RoleInput(_Model):
    """A role that the image was made with."""

    code: Digest
    """Over the role's folder."""
    settings: Digest
    """Over its settings, and the files they name."""


class Inputs(_Model):
    """Everything that the image was made from."""

    recipe: Digest
    """Over the recipe file."""
    lock: Digest | None
    """Over the lock file; null when the build had none."""
    roles: dict[str, RoleInput]
    """The roles, in the order in which they ran."""
    tools: dict[str, str]
    """Versions of the programs that made it, hatfleet's own among them."""


class PackageEntry(_Model):
    """A Debian package in the image."""

    name: str
    version: str
    arch: str


class Verity(_Model):
    """The dm-verity tree of the system partition, appended to its data."""

    root_hash: Sha256
    hash_offset_bytes: Annotated[int, Field(gt=0, multiple_of=4096)]
    """Where the tree's superblock starts, from the start of the partition; the data ends there."""


class PartitionEntry(_Model):
    """A partition of the disk."""

    name: str
    number: Annotated[int, Field(ge=1)]
    start_bytes: Bytes
    size_bytes: Annotated[int, Field(gt=0)]
    partuuid: str
    """As the kernel writes it, in lower case."""
    used_bytes: Bytes
    """Length of its content; 0 when it is empty until the device fills it."""


class LayoutEntry(_Model):
    """The partition table, without the extended partition of an MBR."""

    table: Literal["mbr", "gpt"]
    partitions: tuple[PartitionEntry, ...]

    def find(self, name: str) -> PartitionEntry | None:
        """Return the partition of a name."""
        return next((partition for partition in self.partitions if partition.name == name), None)


class Manifest(_Model):
    """A release."""

    # "schema" is a method of pydantic's models.
    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: str
    version: str
    platform: str
    arch: str
    suite: str
    build: Digest
    """Key of the last stage: equal when everything that went into the disk image is."""
    image: FileName
    sha256: Sha256
    """Of the uncompressed image."""
    admin_user: str | None
    inputs: Inputs
    packages: tuple[PackageEntry, ...]
    layout: LayoutEntry
    verity: Verity
    command_lines: dict[Slot, str]
    """Kernel command line of each slot."""
    stage_seconds: dict[str, float]
    """Time that each stage took when its output was made."""
    artefacts: dict[FileName, Artefact]
    """Every file of the release but this one and the signatures."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        image = self.artefacts.get(self.image)
        if image is None or image.sha256 != self.sha256:
            raise ValueError("the image is not among the artefacts, or with another sha256")
        if reserved := [name for name in self.artefacts if name == MANIFEST or name.endswith(SIGNATURE)]:
            raise ValueError(f"{reserved[0]} cannot be among the artefacts")
        names = [partition.name for partition in self.layout.partitions]
        if len(set(names)) != len(names):
            raise ValueError("two partitions have one name")
        if set(self.command_lines) != set(SLOTS):
            raise ValueError("each of the slots a and b has a kernel command line")
        return self

    def file(self, kind: Kind) -> str | None:
        """Return the name of the file of a kind, or None when the release has none."""
        name = kind.of(self.name, self.version)
        return name if name in self.artefacts else None

    def text(self) -> str:
        """Return the manifest as it is written."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Read a manifest from the bytes of ``path``.

    Raises:
        InputError: it is not a manifest, of another schema, or damaged.
    """
    where = Where(path)
    try:
        found = json.loads(data)
    except ValueError as error:
        raise InputError(f"this is not JSON: {error}", where=where, hint=_HINT) from error
    if not isinstance(found, dict):
        raise InputError("this is not a manifest: it is no JSON object", where=where, hint=_HINT)
    schema = found.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        shown = "no schema" if schema is None else f"schema {schema!r}"
        raise InputError(
            f"found {shown}: this version of hatfleet reads manifests of schema {SCHEMA}",
            where=where,
            hint="use the version of hatfleet that built the image, or build it again",
        )
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        shown = "; ".join(_explain(detail) for detail in details[:3])
        more = f"; and {len(details) - 3} more" if len(details) > 3 else ""
        raise InputError(
            f"this is not a manifest of schema {SCHEMA}: {shown}{more}", where=where, hint=_HINT
        ) from error


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        InputError: it cannot be read, is not a manifest, of another schema, or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=Where(path)) from error
    return parse_manifest(data, path)


_HINT = "build the image again, or fetch the release again"


def _explain(detail: ErrorDetails) -> str:
    place = ".".join(str(step) for step in detail["loc"])
    return f"{place}: {detail['msg']}" if place else detail["msg"]
