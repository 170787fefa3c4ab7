"""OpenSSH public keys as they stand in an ``authorized_keys`` file."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

#: Key types that may open a device, with how many length-prefixed fields follow the type in the blob (RFC 8709 and
#: OpenSSH's PROTOCOL.u2f). Others are refused: an sshd that is set up by the role harden would not accept them.
KEY_TYPES = {"ssh-ed25519": 1, "sk-ssh-ed25519@openssh.com": 2}

#: Bytes of an Ed25519 public key (RFC 8032).
ED25519_BYTES = 32


@dataclass(frozen=True)
class PublicKey:
    """One public key: its type, the base64 blob, and the comment that says whose it is."""

    type: str
    blob: str
    comment: str = ""

    @property
    def line(self) -> str:
        """The key as a line of an authorized_keys file, without newline."""
        return " ".join(part for part in (self.type, self.blob, self.comment) if part)


def parse_public_key(text: str) -> PublicKey:
    """Read one line of an authorized_keys file.

    Raises:
        ValueError: it is not an Ed25519 public key; the message says why and never repeats the text.
    """
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key; give the public one (the file that ends in .pub)")
    if len(text.strip().splitlines()) != 1:
        raise ValueError("a key is one line: type, base64 text, comment")
    key_type, _, rest = text.strip().partition(" ")
    allowed = " or ".join(KEY_TYPES)
    if key_type not in KEY_TYPES:
        raise ValueError(f"the line must start with the key type {allowed} (options before it are not supported)")
    blob, _, comment = rest.strip().partition(" ")
    if not _is_blob(key_type, blob):
        raise ValueError(f"the base64 text is not a {key_type} key: it is cut off or altered")
    return PublicKey(key_type, blob, " ".join(comment.split()))


def _is_blob(key_type: str, blob: str) -> bool:
    """Whether base64 text holds exactly the fields of such a key: type, public key, further strings."""
    try:
        data = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return False
    fields: list[bytes] = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            return False
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return len(fields) == 1 + KEY_TYPES[key_type] and fields[0] == key_type.encode() and len(fields[1]) == ED25519_BYTES


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """Read a file of public keys, one a line; empty lines and comment lines do not count.

    Raises:
        ValueError: the file cannot be read, a line is not a key, or there is no key in it.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ValueError(f"cannot read the key file {path}: {reason}") from error
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            keys.append(parse_public_key(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    if not keys:
        raise ValueError(f"there is no key in {path}")
    return tuple(keys)
