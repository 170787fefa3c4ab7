"""Detached signatures: ECDSA over P-256 and SHA-256, as ``openssl dgst -sha256 -verify`` reads them.

A private key is a PEM file, with or without a passphrase, or a PEM file inside an age file (``*.age``), encrypted to
recipients or with a passphrase. It is opened in memory and never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hatfleet.common.age import (
    Identity,
    armoured,
    decrypt,
    load_protected,
    open_protected,
    read_stanzas,
)
from hatfleet.common.errors import HatfleetError, InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.image.release.manifest import SIGNATURE

_MAKE_HINT = "make one with: openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -out KEY.pem"
_PUBLIC_HINT = "take it from the private key: openssl ec -in KEY.pem -pubout -out KEY.pub"


class SignatureError(HatfleetError):
    """A signature was not made by the key, or not over this file."""


@dataclass(frozen=True)
class SigningKey:
    """A private key; it never shows itself."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def public_pem(self) -> str:
        """The public key that belongs to it."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True)
class PublicKey:
    """A public key, and the file it was read from."""

    file: Path
    key: ec.EllipticCurvePublicKey = field(repr=False)


def load_signing_key(
    file: Path, *, ask: Callable[[], str], identities: Callable[[], Iterable[Identity]] = tuple
) -> SigningKey:
    """Read a private key.

    Args:
        file: PEM, or ``*.age`` with PEM inside.
        ask: Called for the passphrase, of the PEM or of the age file, if there is one.
        identities: Called for the age identities, if the age file is encrypted to recipients.

    Raises:
        InputError: it cannot be read, is no P-256 private key, or the passphrase is wrong.
        NoMatchError: none of the identities is a recipient of the age file.
    """
    where = Where(file)
    data = _read(file)
    try:
        if file.suffix == ".age":
            data = _open_age(data, ask, identities)
        if b"PRIVATE KEY-----" not in data:
            kind = "a public key or certificate" if _is_public(data) else "no PEM file with a private key"
            raise InputError(f"this is {kind}; to sign, the private key is needed", hint=_MAKE_HINT)
        key = load_protected(load_pem_private_key, data, ask)
    except InputError as error:
        raise type(error)(error.message, hint=error.hint, where=where) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("this is no private key in PEM, or it is damaged", hint=_MAKE_HINT, where=where) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _wrong_kind(key, where)
    return SigningKey(key)


def load_public_key(file: Path) -> PublicKey:
    """Read a public key, or the one in a certificate, from a PEM file.

    Of a certificate only the key counts: the file itself is what the caller trusts.

    Raises:
        InputError: it cannot be read, or holds no P-256 public key; a private key is refused.
    """
    where = Where(file)
    data = _read(file)
    if b"PRIVATE KEY-----" in data:
        raise InputError("this is a private key; to verify, the public key is needed", hint=_PUBLIC_HINT, where=where)
    try:
        certificate = b"BEGIN CERTIFICATE" in data
        key = x509.load_pem_x509_certificate(data).public_key() if certificate else load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            "this is no public key or certificate in PEM, or it is damaged", hint=_PUBLIC_HINT, where=where
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _wrong_kind(key, where)
    return PublicKey(file, key)


def site_public_key(site: Site) -> Path | None:
    """Return the site's public key for images, ``keys/image-signing.pub``, when it has one."""
    file = site.root / "keys" / "image-signing.pub"
    return file if file.is_file() else None


def sign_file(file: Path, key: SigningKey) -> Path:
    """Write the signature of a file beside it, and return where: its name with ``.sig`` behind.

    The same file and key give the same signature (RFC 6979).
    """
    signature = key.key.sign(file.read_bytes(), ec.ECDSA(SHA256(), deterministic_signing=True))
    target = file.with_name(file.name + SIGNATURE)
    write_atomic(target, signature)
    return target


def verify_signature(data: bytes, signature: bytes, key: PublicKey) -> None:
    """Make sure that a signature over ``data`` was made with the private half of ``key``.

    Raises:
        SignatureError: it was not.
    """
    try:
        key.key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise SignatureError(
            f"the signature does not fit: the file was changed, or another key than {key.file.name} signed it",
            hint="fetch the release again; make sure that the public key is that of who built it",
        ) from error


def _open_age(data: bytes, ask: Callable[[], str], identities: Callable[[], Iterable[Identity]]) -> bytes:
    armour = armoured(data)
    if any(stanza.kind == "scrypt" for stanza in read_stanzas(armour)):
        return open_protected(data, ask)
    return decrypt(armour, identities())


def _is_public(data: bytes) -> bool:
    return b"BEGIN PUBLIC KEY" in data or b"BEGIN CERTIFICATE" in data


def _wrong_kind(key: object, where: Where) -> InputError:
    curve = getattr(getattr(key, "curve", None), "name", None)
    found = f"a key on the curve {curve}" if curve else type(key).__name__.strip("_")
    return InputError(f"found {found}, allowed is ECDSA on the curve P-256", hint=_MAKE_HINT, where=where)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"the key cannot be read: {reason}", where=Where(file), hint="check the path") from error
