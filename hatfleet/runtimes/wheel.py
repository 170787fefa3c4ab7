"""What a wheel says about itself."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from functools import cached_property
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

from hatfleet.common.errors import HatfleetError, Where


@dataclass(frozen=True)
class Wheel:
    """A wheel in a file.

    Raises:
        HatfleetError: from its properties, when it is no wheel; the file is named.
    """

    path: Path

    @cached_property
    def name(self) -> str:
        """Normalised name of the distribution."""
        return str(self._parsed[0])

    @cached_property
    def version(self) -> Version:
        """Version of the distribution."""
        return self._parsed[1]

    @cached_property
    def sha256(self) -> str:
        """Digest of the file."""
        with self.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    @cached_property
    def unpacked_bytes(self) -> int:
        """Size of all files in it."""
        with zipfile.ZipFile(self.path) as archive:
            return sum(entry.file_size for entry in archive.infolist())

    @cached_property
    def requires(self) -> tuple[Requirement, ...]:
        """What the distribution requires."""
        try:
            return tuple(Requirement(line) for line in self._metadata.get_all("Requires-Dist", []))
        except InvalidRequirement as error:
            raise HatfleetError(f"what it requires cannot be read: {error}", where=Where(self.path)) from error

    @cached_property
    def licence(self) -> str:
        """Its licence: an SPDX expression, or the words of its classifiers or its line; empty when it does not say."""
        prefix = "License :: "
        classified = [line for line in self._metadata.get_all("Classifier", []) if line.startswith(prefix)]
        line = str(self._metadata.get("License", ""))
        return (
            str(self._metadata.get("License-Expression", ""))
            or " and ".join(one.rpartition(" :: ")[2] for one in classified)
            # Some have the whole text here.
            or ("" if "\n" in line else line)
        )

    @cached_property
    def _parsed(self) -> tuple[str, Version]:
        try:
            name, version, _, _ = parse_wheel_filename(self.path.name)
        except InvalidWheelFilename as error:
            raise HatfleetError(f"this is no wheel: {error}", where=Where(self.path)) from error
        return name, version

    @cached_property
    def _metadata(self) -> Message:
        try:
            with zipfile.ZipFile(self.path) as archive:
                (name,) = (name for name in archive.namelist() if _is_metadata(name))
                return message_from_bytes(archive.read(name))
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise HatfleetError(f"this is no wheel, or a damaged one: {error}", where=Where(self.path)) from error


def _is_metadata(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder.endswith(".dist-info") and file == "METADATA"
