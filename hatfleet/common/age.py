"""age files: encryption to recipients, decryption with identities, and what an age file tells without a key.

pyrage does the cryptography. Here its errors become ours, SSH keys with a passphrase are opened, and the header is
read: it names the kind of every recipient, and of SSH keys a fingerprint.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from hatfleet.common.errors import InputError

ARMOUR_BEGIN = "-----BEGIN AGE ENCRYPTED FILE-----"
_BINARY_BEGIN = b"age-encryption.org/v1\n"

#: How a private age key begins; nothing that begins so is ever shown.
IDENTITY_PREFIX = "AGE-SECRET-KEY-1"

_SSH_KINDS = ("ssh-ed25519", "ssh-rsa")


class NoMatchError(InputError):
    """None of the identities is one of the recipients that a value was encrypted to."""


@dataclass(frozen=True)
class Stanza:
    """What an age file says about one of its recipients."""

    kind: str
    """``X25519``, ``ssh-ed25519``, ``ssh-rsa``, ``scrypt`` or a plugin's."""
    tag: str = ""
    """Of an SSH key, the beginning of its digest; an X25519 recipient stays hidden."""


@dataclass(frozen=True)
class Recipient:
    """A public key that values are encrypted to."""

    text: str
    """``age1…``, or the type and key of an SSH public key, without comment."""
    stanza: Stanza
    """How it appears in an age file."""
    key: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Identity:
    """A private key; it never shows itself."""

    recipient: str
    """The public key that belongs to it, as in ``Recipient.text``."""
    key: Any = field(repr=False, compare=False)


def parse_recipient(text: str) -> Recipient:
    """Read ``age1…``, ``ssh-ed25519 AAAA… comment`` or ``ssh-rsa AAAA… comment``.

    Raises:
        InputError: it is none of these; a private key is refused without being shown.
    """
    if IDENTITY_PREFIX in text.upper() or "PRIVATE KEY" in text:
        raise InputError(
            "a private key stands where only public ones may: it must be replaced by a new one",
            hint="remove it, make a new identity (provision secrets init), and change every secret it could decrypt",
        )
    words = text.split()
    hint = "allowed are age1…, ssh-ed25519 AAAA… and ssh-rsa AAAA…, one a line"
    if not words or not (words[0].startswith("age1") or words[0] in _SSH_KINDS):
        raise InputError(f"{text.strip()[:40]!r} is no recipient", hint=hint)
    plain = " ".join(words[:2]) if words[0] in _SSH_KINDS else text.strip()
    try:
        if words[0] in _SSH_KINDS:
            return Recipient(plain, Stanza(words[0], _ssh_tag(words[1:2])), pyrage.ssh.Recipient.from_str(plain))
        return Recipient(plain, Stanza("X25519"), pyrage.x25519.Recipient.from_str(plain))
    except (pyrage.RecipientError, ValueError) as error:
        raise InputError(f"{plain[:40]!r}… is damaged: it is no valid public key", hint=hint) from error


def _ssh_tag(words: Sequence[str]) -> str:
    digest = hashlib.sha256(base64.b64decode("".join(words), validate=True)).digest()
    return base64.b64encode(digest[:4]).decode().rstrip("=")


def encrypt(data: bytes, recipients: Sequence[Recipient]) -> str:
    """Encrypt to all recipients; the result is an ASCII-armoured age file."""
    return bytes(pyrage.encrypt(data, [recipient.key for recipient in recipients], armored=True)).decode().strip()


def decrypt(armour: str, identities: Iterable[Identity]) -> bytes:
    """Decrypt an ASCII-armoured age file.

    Raises:
        NoMatchError: none of the identities is a recipient of it.
        InputError: it is not an age file, or damaged.
    """
    if not any(stanza.kind != "scrypt" for stanza in read_stanzas(armour)):
        raise InputError("it is encrypted with a passphrase, not to recipients", hint="encrypt it again: " + _ENCRYPT)
    try:
        return bytes(pyrage.decrypt(_normal(armour).encode(), [identity.key for identity in identities]))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise NoMatchError("none of the identities given is one of its recipients") from error
        raise _damaged() from error


_ENCRYPT = "provision secrets encrypt"


def read_stanzas(armour: str) -> tuple[Stanza, ...]:
    """Return what an age file says about its recipients; no key is needed.

    Raises:
        InputError: it is not an age file.
    """
    lines = _normal(armour).splitlines()
    if not lines or lines[0] != ARMOUR_BEGIN:
        raise InputError(f"not an age file: it does not begin with {ARMOUR_BEGIN}", hint=f"make one with: {_ENCRYPT}")
    try:
        data = base64.b64decode("".join(lines[1:-1]), validate=True)
    except ValueError as error:
        raise _damaged() from error
    header, end, _ = data.partition(b"\n---")
    if not header.startswith(_BINARY_BEGIN) or not end:
        raise _damaged()
    words = [line.split(" ") for line in header.decode(errors="replace").splitlines() if line.startswith("-> ")]
    # Files carry one random stanza that means nothing, so that programs get used to unknown ones.
    return tuple(
        Stanza(kind, rest[0] if kind in _SSH_KINDS and rest else "")
        for _, kind, *rest in words
        if not kind.endswith("-grease")
    )


def armoured(data: bytes) -> str:
    """Return an age file, binary or armoured already, as ASCII armour."""
    if not data.startswith(_BINARY_BEGIN):
        return data.decode(errors="replace")
    body = textwrap.wrap(base64.b64encode(data).decode(), 64)
    return "\n".join([ARMOUR_BEGIN, *body, "-----END AGE ENCRYPTED FILE-----"])


def _normal(armour: str) -> str:
    """Take the blanks from the ends of lines, which YAML and editors may leave."""
    return "\n".join(line.strip() for line in armour.strip().splitlines()) + "\n"


def _damaged() -> InputError:
    return InputError("the age file is damaged: a part is missing or was changed", hint="restore it from a backup")


def parse_identities(data: bytes, ask: Callable[[], str]) -> tuple[Identity, ...]:
    """Read an identity file: age identities, plain or protected by a passphrase (``age -p``), or an SSH private key.

    Args:
        data: Content of the file.
        ask: Called for the passphrase, if one is needed.

    Raises:
        InputError: it is neither, or the passphrase is wrong.
    """
    if data.lstrip().startswith((_BINARY_BEGIN.strip(), ARMOUR_BEGIN.encode())):
        return _age_identities(open_protected(data, ask))
    if b"PRIVATE KEY-----" in data:
        return (_ssh_identity(data, ask),)
    return _age_identities(data)


def open_protected(data: bytes, ask: Callable[[], str]) -> bytes:
    """Decrypt an age file that is protected by a passphrase (``age -p``), binary or armoured.

    Raises:
        InputError: the passphrase is wrong, or the file is encrypted to recipients, or damaged.
    """
    try:
        return bytes(pyrage.passphrase.decrypt(data, ask()))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise InputError("it is encrypted, but not with a passphrase", hint="protect it with: age -p") from error
        raise InputError("wrong passphrase, or the file is damaged", hint="try again") from error


def _age_identities(data: bytes) -> tuple[Identity, ...]:
    lines = [line.strip() for line in data.decode(errors="replace").splitlines()]
    found = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            key = pyrage.x25519.Identity.from_str(line)
        except pyrage.IdentityError as error:
            known = line.upper().startswith("AGE-")
            what = "a damaged age identity, or one of an age plugin" if known else f"no age identity ({_what(line)})"
            raise InputError(
                f"line {number} is {what}", hint=f"expected is {IDENTITY_PREFIX}…, or an SSH private key"
            ) from error
        found.append(Identity(str(key.to_public()), key))
    if not found:
        raise InputError("there is no identity in it", hint="make one with: provision secrets init")
    return tuple(found)


def _what(line: str) -> str:
    """Say what a line is without showing it: it may be a secret in a wrong place."""
    return "a public key" if re.match(r"age1|ssh-|ecdsa-|sk-", line) else "something else"


def _ssh_identity(data: bytes, ask: Callable[[], str]) -> Identity:
    openssh = b"OPENSSH PRIVATE KEY" in data
    load: Callable[..., Any] = load_ssh_private_key if openssh else load_pem_private_key
    try:
        private = load_protected(load, data, ask)
        text = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        plain = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        return Identity(text, pyrage.ssh.Identity.from_buffer(plain))
    except (ValueError, UnsupportedAlgorithm, pyrage.IdentityError) as error:
        raise InputError(
            "it is no SSH private key that age can use", hint="age knows ssh-ed25519 and ssh-rsa keys"
        ) from error


def load_protected(load: Callable[..., Any], data: bytes, ask: Callable[[], str]) -> Any:
    """Load a private key with one of cryptography's loaders; ``ask`` is called if it has a passphrase.

    Raises:
        InputError: the passphrase is wrong.
        ValueError, UnsupportedAlgorithm: the loader cannot read it.
    """
    try:
        return load(data, None)
    except TypeError:  # how cryptography says that there is a passphrase
        passphrase = ask().encode()
    except ValueError as error:
        if "password" not in str(error).lower():
            raise
        passphrase = ask().encode()
    try:
        return load(data, passphrase)
    except ValueError as error:
        raise InputError("wrong passphrase, or the file is damaged", hint="try again") from error
