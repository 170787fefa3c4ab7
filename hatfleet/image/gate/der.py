"""Private keys in binary files: DER, PKCS#12, Java key stores, Dropbear, OpenPGP."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

#: A key in DER is at most this long (RSA with 16384 bits takes 9.5 kB); a key store may hold hundreds of certificates.
_KEY_LIMIT, _STORE_LIMIT = 65536, 16 * 2**20

_LENGTH = rb"(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...)"

#: PFX: SEQUENCE { INTEGER 3, SEQUENCE { OBJECT pkcs7-data or -signedData (RFC 7292, 4).
_PKCS12 = re.compile(
    rb"\x30" + _LENGTH + rb"\x02\x01\x03\x30" + _LENGTH + rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x01\x02]",
    re.DOTALL,
)
#: keyBag and pkcs8ShroudedKeyBag (RFC 7292, appendix D); programs leave these outside the encrypted part.
_KEY_BAG = re.compile(rb"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01[\x01\x02]", re.DOTALL)
#: With these, stores that hold certificates only are commonly closed.
_PUBLIC_PASSWORDS = (None, b"", b"changeit", b"changeme")

_JAVA_MAGIC = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_JAVA_KEY, _JAVA_CERTIFICATE, _JAVA_SECRET = 1, 2, 3

#: How many fields a public key of each kind has in SSH's wire format (RFC 4253, 6.6); Dropbear's private keys have
#: more of them, and for Ed25519 a second one of 64 bytes.
_SSH_PUBLIC_FIELDS = {b"ssh-rsa": 3, b"ssh-dss": 5, b"ssh-ed25519": 2}

#: OpenPGP: versions of key packets, and registered public key algorithms (RFC 9580, 9.1).
_PGP_VERSIONS = (3, 4, 5, 6)
_PGP_ALGORITHMS = (1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28)


def der_length(data: bytes) -> int | None:
    """Return how long the DER SEQUENCE that ``data`` begins with is, its head included; None when it is none."""
    if len(data) < 4 or data[0] != 0x30:
        return None
    if data[1] < 0x80:
        return 2 + data[1]
    count = data[1] & 0x7F
    if not 1 <= count <= 4 or len(data) < 2 + count + 1:
        return None
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big")


def binary_keys(data: bytes) -> Iterator[str]:
    """Yield what kind of private key a file is, for files that are one from their first byte on."""
    if data[:1] == b"\x30":
        yield from _der(data)
    elif data[:4] in _JAVA_MAGIC:
        if len(data) <= _STORE_LIMIT and _java_holds_key(data):
            yield "Java key store with a key"
    elif data[:3] == b"\x00\x00\x00":
        if _is_dropbear(data):
            yield "Dropbear private key"
    elif _is_openpgp(data):
        yield "OpenPGP secret key"


def _der(data: bytes) -> Iterator[str]:
    length = der_length(data)
    if length is not None and length <= len(data) <= length + 2 and length <= _KEY_LIMIT:
        try:
            load_der_private_key(data[:length], None)
        except TypeError:
            yield "encrypted private key (PKCS#8, DER)"
        except ValueError:
            pass
        except UnsupportedAlgorithm:
            yield "private key (DER) of an unknown kind"
        else:
            yield "private key (DER)"
            return
    if len(data) <= _STORE_LIMIT and _PKCS12.match(data) and _pkcs12_holds_key(data):
        yield "PKCS#12 store with a private key"


def _pkcs12_holds_key(data: bytes) -> bool:
    """Whether a store holds a key; one that cannot be opened counts as if it does."""
    if _KEY_BAG.search(data):
        return True
    for password in _PUBLIC_PASSWORDS:
        try:
            return load_key_and_certificates(data, password)[0] is not None
        except ValueError:
            continue
    return True


def _java_holds_key(data: bytes) -> bool:
    """Whether a JKS or JCEKS store holds a private or secret key: entries are read until the first one."""
    try:
        version, count = struct.unpack_from(">II", data, 4)
        at = 12
        for _ in range(count):
            (tag,) = struct.unpack_from(">I", data, at)
            if tag in (_JAVA_KEY, _JAVA_SECRET):
                return True
            if tag != _JAVA_CERTIFICATE:
                return False
            at = _skip(data, at + 4, ">H") + 8  # the alias, and when it was made
            if version == 2:
                at = _skip(data, at, ">H")  # the type of the certificate
            at = _skip(data, at, ">I")
    except struct.error:
        return False
    return False


def _skip(data: bytes, at: int, size: str) -> int:
    """Return where a field with its length before it ends."""
    (length,) = struct.unpack_from(size, data, at)
    return at + struct.calcsize(size) + int(length)


def _is_dropbear(data: bytes) -> bool:
    fields: list[bytes] = []
    at = 0
    while at + 4 <= len(data) <= _KEY_LIMIT:
        end = _skip(data, at, ">I")
        fields.append(data[at + 4 : end])
        at = end
    if at != len(data) or not fields:
        return False
    kind = fields[0]
    if kind.startswith(b"ecdsa-sha2-"):
        return len(fields) > 3
    if kind == b"ssh-ed25519":
        return len(fields) == 2 and len(fields[1]) == 64
    return kind in _SSH_PUBLIC_FIELDS and len(fields) > _SSH_PUBLIC_FIELDS[kind]


def _is_openpgp(data: bytes) -> bool:
    """Whether a file begins with an OpenPGP secret key packet (old format with a length, or new format)."""
    heads = {0x94: 2, 0x95: 3, 0x96: 5}
    if len(data) < 24:
        return False
    if data[0] == 0xC5:
        head = 2 if data[1] < 192 else 3 if data[1] < 224 else 6
    elif data[0] in heads:
        head = heads[data[0]]
        if head + int.from_bytes(data[1:head], "big") > len(data):
            return False
    else:
        return False
    return data[head] in _PGP_VERSIONS and data[head + 5] in _PGP_ALGORITHMS
