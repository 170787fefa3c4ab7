"""Private keys in text (PEM and its relatives), wherever in a file they stand; prose about them is no key."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from hatfleet.image.gate.der import der_length

#: What every such key has; looked for first, because that is fast.
ANCHOR = b"PRIVATE KEY"

#: Longer than any key: RSA with 16384 bits takes 13 kB.
_LIMIT = 32768

_ARMOUR = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{0,40}?)PRIVATE KEY((?: BLOCK)?)-----(.{16,%d}?)-----END \1PRIVATE KEY\2-----" % _LIMIT,
    re.DOTALL,
)
# The key begins with a fixed number, 0x3f6ff9eb.
_SSH2 = re.compile(rb"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\r?\n(?:[^\n]*:[^\n]*\n)*P2/56")
_SSH1 = b"SSH PRIVATE KEY FILE FORMAT 1.1\n"

#: Line ends, also those written as an escape in source code, JSON or an environment file.
_LINE_END = re.compile(rb"\\[nr]|[\r\n]+")

#: What source code and comments put around a line; no character of base64 is among them.
_AROUND = b" \t\"',;\\#*>|`()"

_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")

#: Tags of OpenPGP secret key and subkey packets, old and new format (RFC 9580, 4.2 and 5.5).
PGP_SECRET_TAGS = frozenset({0x94, 0x95, 0x96, 0x97, 0x9C, 0x9D, 0x9E, 0x9F, 0xC5, 0xC7})

#: Tags that a DER private key begins with, inside its SEQUENCE: a version, an algorithm, or the TPM's object id.
_FIRST_TAGS = (0x02, 0x30, 0x06)


def pem_keys(data: bytes) -> Iterator[str]:
    """Yield what kind of key each one in ``data`` is."""
    if ANCHOR not in data:
        return
    if data.startswith(_SSH1):
        yield "SSH protocol 1 private key"
    if _SSH2.search(data):
        yield "SSH2 private key"
    for found in _ARMOUR.finditer(data):
        kind = found[1].decode().strip()
        if found[2]:
            kind = "PGP"
        if _holds_key(found[3], openpgp=bool(found[2])):
            yield f"{kind} private key".strip()


def _holds_key(raw: bytes, *, openpgp: bool) -> bool:
    """Whether what stands between the two lines is a key, and no ellipsis, placeholder or piece of a program."""
    lines = [line.strip(_AROUND) for line in _LINE_END.split(raw)]
    encrypted = any(line.startswith(b"DEK-Info:") for line in lines)
    # The checksum line of OpenPGP begins with "=".
    text = b"".join(line for line in lines if b":" not in line and not line.startswith(b"="))
    if not _BASE64.fullmatch(text):
        return False
    try:
        body = base64.b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return False
    if len(body) < 16:
        return False
    if openpgp:
        return body[0] in PGP_SECRET_TAGS
    if encrypted or body.startswith(b"openssh-key-v1\0"):
        return True
    length = der_length(body)
    return length is not None and length <= len(body) and body[2 + _extra(body)] in _FIRST_TAGS


def _extra(body: bytes) -> int:
    """Return how many bytes the length of a DER value takes beside the first."""
    return body[1] & 0x7F if body[1] & 0x80 else 0
