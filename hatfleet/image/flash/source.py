"""The image to flash, packed or not, and what lies beside it: block map and manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hatfleet.common.errors import HatfleetError, InputError, Where
from hatfleet.image.bmap import Bmap, read_bmap

MANIFEST = "manifest.json"

_PACKED = ".zst"

#: The longest header of a zstd frame, bytes (RFC 8878, section 3.1.1: magic number 4, frame header 14).
_FRAME_HEADER_BYTES = 18


class Declared(BaseModel):
    """What the manifest beside an image says of it; all else in the manifest does not matter here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    version: str
    image: str
    """File name of the unpacked image."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Checksum of the unpacked image."""


@dataclass(frozen=True)
class Source:
    """An image."""

    file: Path
    image_bytes: int
    """Size of the unpacked image."""
    bmap: Bmap | None
    """None: nothing says which blocks matter, so all are written."""
    declared: Declared | None
    """None: there is no manifest, or it is another image's."""
    signed: bool = False
    """Whether a signature of the manifest lies beside it; it is not verified here."""

    @contextlib.contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """Read the unpacked image from its start, without unpacking it to a disk.

        Raises:
            HatfleetError: the packed image is damaged. One that is cut off just ends early.
        """
        with self.file.open("rb") as file:
            if self.file.suffix != _PACKED:
                yield file
                return
            try:
                yield zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            except zstandard.ZstdError as error:
                raise HatfleetError(f"{self.file.name} is damaged: {error}", hint="fetch the image again") from error


def open_source(file: Path) -> Source:
    """Look at an image and what lies beside it.

    Raises:
        InputError: no such image, a file of another kind, or block map, manifest and image contradict each other.
    """
    if not file.is_file():
        raise InputError(f"there is no image {file}", hint="build one: provision image build; it lies in out/NAME/")
    plain = file.name.removesuffix(_PACKED)
    if not plain.endswith(".img"):
        raise InputError(f"{file.name} is no disk image", hint="name a file that ends in .img or .img.zst")
    beside = [file.with_name(name) for name in (f"{plain}.bmap", f"{plain.removesuffix('.img')}.bmap")]
    bmap_file = next((candidate for candidate in beside if candidate.is_file()), None)
    bmap = read_bmap(bmap_file) if bmap_file else None
    size = _size_bytes(file, bmap)
    if bmap and bmap_file and bmap.image_bytes != size:
        raise InputError(
            f"it is of an image of {bmap.image_bytes} bytes, but {file.name} has {size}",
            where=Where(bmap_file),
            hint="the two are of different builds, or the image is cut off: fetch or build them again",
        )
    declared = _declared(file.with_name(MANIFEST))
    if declared is not None and declared.image != plain:
        declared = None
    return Source(file, size, bmap, declared, signed=file.with_name(f"{MANIFEST}.sig").is_file())


def _size_bytes(file: Path, bmap: Bmap | None) -> int:
    if file.suffix != _PACKED:
        return file.stat().st_size
    if bmap:
        return bmap.image_bytes
    with file.open("rb") as packed:
        head = packed.read(_FRAME_HEADER_BYTES)
    try:
        size = zstandard.get_frame_parameters(head).content_size
    except zstandard.ZstdError as error:
        raise InputError(f"{file.name} is not packed with zstd: {error}", hint="fetch the image again") from error
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        raise InputError(
            f"{file.name} does not say how large it is unpacked, and no block map lies beside it",
            hint=f"put {file.name.removesuffix(_PACKED)}.bmap beside it, or unpack it first: zstd -d {file.name}",
        )
    return int(size)


def _declared(file: Path) -> Declared | None:
    try:
        return Declared.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", where=Where(file)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or None
        hint = "fetch or build the image again, or take the manifest away to flash without one"
        raise InputError(f"not a manifest: {first['msg']}", where=Where(file, key=key), hint=hint) from error
