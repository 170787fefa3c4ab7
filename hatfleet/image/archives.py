"""Package archives beside Debian's: where they are, and that their keys are the right ones before apt sees them.

The address is the admin's to give: a site's mirror as well as the original. Whose signature counts is in the
platform's table, so that a wrong keyring cannot bring in another's packages.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hatfleet.common.errors import CommandError, HatfleetError, InputError, Where
from hatfleet.common.run import require_tool, run
from hatfleet.image.platforms import Archive

#: Addresses that apt can read; ``file:`` is for a mirror on this machine.
_URI = re.compile(r"(https?://[^/\s]+|file:)/\S*")

_ARMOR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


class ArchiveFile(BaseModel):
    """The key ``archive`` of a recipe, as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    uri: Annotated[str, Field(pattern=rf"^{_URI.pattern}$")]
    """Address of the archive: http://, https:// or file:/, up to the folder that holds dists/."""
    keyring: str
    """File with the archive's OpenPGP keys, from the recipe's folder."""


class FurtherArchive(ArchiveFile):
    """An entry of a recipe's key ``archives``: an archive that the recipe alone vouches for."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\n]+$")]
    """Whose it is, for messages."""
    fingerprints: Annotated[list[Annotated[str, Field(pattern=r"^[0-9A-F]{40}$")]], Field(min_length=1)]
    """Fingerprints of the OpenPGP keys that may sign it, 40 capital hexadecimal digits each."""
    suite: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9./-]*$")] | None = None
    """The archive's suite; the recipe's when not set."""
    components: Annotated[list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]], Field(min_length=1)] = ["main"]
    """Components of the suite."""

    def place(self, where: Where, folder: Path) -> ArchivePlace:
        """Return where it is.

        Args:
            where: Where the recipe says so.
            folder: The recipe's folder.
        """
        archive = Archive(
            name=self.name,
            components=tuple(self.components),
            fingerprints=tuple(self.fingerprints),
            uri_variable="",
            keyring_variable="",
            documented_in="the recipe's key archives",
        )
        return ArchivePlace(archive, self.uri.rstrip("/"), folder / self.keyring, where, self.suite)


@dataclass(frozen=True)
class ArchivePlace:
    """Where an archive is, for one build."""

    archive: Archive
    uri: str
    keyring: Path
    where: Where
    """Who said so, for errors."""
    suite: str | None = None
    """The archive's name of the suite, where it is not Debian's."""


def locate(
    archive: Archive, written: ArchiveFile | None, where: Where, folder: Path, environment: Mapping[str, str]
) -> ArchivePlace:
    """Return where an archive is: the environment's word counts before the recipe's.

    Args:
        archive: The archive.
        written: What the recipe says.
        where: Where the recipe says it, or should.
        folder: The recipe's folder.
        environment: The builder's environment.

    Raises:
        InputError: nobody says, or what is said is no address.
    """
    uri = environment.get(archive.uri_variable) or (written.uri if written else None)
    keyring = environment.get(archive.keyring_variable) or (written.keyring if written else None)
    if uri is None or keyring is None:
        missing = "address" if uri is None else "keyring"
        raise InputError(
            f"the {missing} of {archive.name}'s package archive is not set",
            where=where,
            hint=f"write archive: {{uri: …, keyring: …}} into the recipe, or set {archive.uri_variable} and "
            f"{archive.keyring_variable}; both stand in {archive.documented_in}",
        )
    if not _URI.fullmatch(uri):
        raise InputError(
            f"{archive.uri_variable} is {uri!r}, which is no address of an archive",
            hint="allowed are http://, https:// and file:/",
        )
    return ArchivePlace(archive, uri.rstrip("/"), folder / keyring, where)


def checked_keyring(place: ArchivePlace) -> bytes:
    """Return an archive's keys, binary as apt wants them, after checking whose they are.

    Write what this returns to a file for apt rather than giving it the admin's own: that one may change in between.

    Raises:
        InputError: the file cannot be read, holds no key, or a key that is not the archive's; the error names the
            fingerprint found and the ones allowed.
        MissingToolError: GnuPG is not installed.
    """
    archive, file = place.archive, place.keyring
    hint = f"{archive.name}'s keyring is named in {archive.documented_in}"
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the keyring {file}: {reason}", where=place.where, hint=hint) from error
    gpg = require_tool("gpg", "gnupg")
    with tempfile.TemporaryDirectory(prefix="hatfleet-") as home:
        # A folder of its own: the builder's keys, options and agent have no part in it.
        command = [gpg, "--homedir", home, "--batch", "--no-autostart"]
        try:
            if _ARMOR in content:
                content = run([*command, "--dearmor"], stdin=content).stdout
            listed = run([*command, "--show-keys", "--with-colons"], stdin=content).stdout.decode()
        except CommandError as error:
            raise InputError(f"{file} is no OpenPGP keyring", where=place.where, hint=hint) from error
    found = _primary_fingerprints(listed)
    if not found:
        raise InputError(f"{file} holds no OpenPGP key", where=place.where, hint=hint)
    if foreign := [fingerprint for fingerprint in found if fingerprint not in archive.fingerprints]:
        raise InputError(
            f"{file} holds the key {foreign[0]}, which is not {archive.name}'s: {', '.join(archive.fingerprints)}",
            where=place.where,
            hint=hint,
        )
    return content


def sources(place: ArchivePlace, *, suite: str, arch: str, keyring: Path) -> str:
    """Return what apt reads in ``sources.list.d/*.sources`` (deb822).

    Args:
        place: The archive.
        suite: Debian's code name of the release.
        arch: Debian's name of the processor architecture.
        keyring: The file with what :func:`checked_keyring` returned; its name must end in ``.gpg``, by which older
            apt tells it from an armoured one.

    Raises:
        HatfleetError: apt could not read the path.
    """
    if not keyring.is_absolute() or any(char.isspace() for char in str(keyring)) or keyring.suffix != ".gpg":
        raise HatfleetError(f"apt needs an absolute path without blanks that ends in .gpg, not {keyring}")
    fields = {
        "Types": "deb",
        "URIs": place.uri,
        "Suites": place.suite or suite,
        "Components": " ".join(place.archive.components),
        "Architectures": arch,
        "Signed-By": str(keyring),
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def _primary_fingerprints(listed: str) -> list[str]:
    """Return the fingerprints of primary keys from GnuPG's colon listing: the ``fpr`` that follows a ``pub``."""
    fingerprints = []
    primary = False
    for record in (line.split(":") for line in listed.splitlines()):
        if record[0] in ("pub", "sub"):
            primary = record[0] == "pub"
        elif record[0] == "fpr" and primary:
            fingerprints.append(record[9])
            primary = False
    return fingerprints
