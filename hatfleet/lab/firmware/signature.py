"""``boot.sig``: is boot.img signed by the owner of the device?

The format is Raspberry Pi's (rpi-eeprom-digest): three lines with the SHA-256 of boot.img, a time that nobody signed,
and an RSA-2048 signature (PKCS#1 v1.5) over that hash.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hatfleet.common.errors import InputError, Where
from hatfleet.lab.firmware.errors import FirmwareError

#: The boot ROM knows this size only.
KEY_BITS = 2048

_FORMAT = re.compile(rb"([0-9a-f]{64})\nts: ([0-9]{1,20})\nrsa2048: ([0-9a-f]{512})\n")


@dataclass(frozen=True)
class Signature:
    """A boot.sig: the SHA-256 it is about, the time it claims (seconds since 1970, unsigned) and the signature."""

    digest: bytes
    time_s: int
    signature: bytes


def parse_signature(content: bytes) -> Signature:
    """Read a boot.sig.

    Raises:
        FirmwareError: it is not in the one exact format.
    """
    match = _FORMAT.fullmatch(content)
    if not match:
        raise FirmwareError("boot.sig is not in the format of rpi-eeprom-digest (hash, ts, rsa2048)")
    return Signature(bytes.fromhex(match[1].decode()), int(match[2]), bytes.fromhex(match[3].decode()))


def verify(image: bytes, signature: bytes, key: RSAPublicKey) -> None:
    """Make sure that boot.sig is a signature of boot.img by the owner of the key.

    Args:
        image: The bytes of boot.img.
        signature: The bytes of boot.sig.
        key: The device's pinned key.

    Raises:
        FirmwareError: it is not; the message says why.
    """
    claimed = parse_signature(signature)
    digest = hashlib.sha256(image).digest()
    if digest != claimed.digest:
        raise FirmwareError("boot.sig is about another boot.img (its hash differs)")
    try:
        key.verify(claimed.signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
    except InvalidSignature as error:
        raise FirmwareError("boot.sig was not made with the key that this device trusts") from error


def load_key(pem: bytes, where: Path | None = None) -> RSAPublicKey:
    """Return the public key from a PEM file.

    Args:
        pem: The content of the file.
        where: Its name, for the error.

    Raises:
        InputError: it is not a public RSA key of 2048 bits in PEM.
    """
    hint = "give the public half: openssl pkey -in KEY -pubout"
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        found = "a private key" if b"PRIVATE KEY" in pem else "no public key in PEM"
        raise InputError(f"this is {found}", where=Where(where), hint=hint) from error
    if not isinstance(key, RSAPublicKey) or key.key_size != KEY_BITS:
        raise InputError(f"boot.sig needs an RSA key of {KEY_BITS} bits, this is another one", where=Where(where))
    return key
