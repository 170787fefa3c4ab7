"""Signatures that openssl accepts, and keys that are refused with the reason."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pyrage
import pytest

from hatfleet.common.age import Identity, NoMatchError, encrypt, parse_recipient
from hatfleet.common.errors import InputError
from hatfleet.image.release.signing import (
    SignatureError,
    SigningKey,
    load_public_key,
    load_signing_key,
    sign_file,
    verify_signature,
)

PASSPHRASE = "correct horse"


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


def never() -> str:
    raise AssertionError("asked for a passphrase")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of every kind, made by openssl."""
    folder = tmp_path_factory.mktemp("keys")
    for name, curve in (("key", "P-256"), ("other", "P-256"), ("p384", "P-384")):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", folder / f"{name}.pem")
    openssl("genpkey", "-algorithm", "ED25519", "-out", folder / "ed25519.pem")
    openssl("genrsa", "-out", folder / "rsa.pem", "2048")
    openssl("ec", "-in", folder / "key.pem", "-out", folder / "sec1.pem")
    protected = ["-aes256", "-passout", f"pass:{PASSPHRASE}"]
    openssl("pkcs8", "-topk8", "-in", folder / "key.pem", *protected[1:], "-out", folder / "pkcs8.pem")
    openssl("ec", "-in", folder / "key.pem", *protected, "-out", folder / "legacy.pem")
    for name in ("key", "other", "p384", "ed25519", "rsa"):
        openssl("pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    subject = ["-subj", "/CN=images", "-days", "1"]
    openssl("req", "-x509", "-key", folder / "key.pem", *subject, "-out", folder / "key.crt")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(os.urandom(5000))
    return path


def openssl_verifies(file: Path, public: Path) -> bool:
    command = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", f"{file}.sig", file]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["key.pem", "sec1.pem", "pkcs8.pem", "legacy.pem"])
def test_openssl_accepts_the_signature_of_every_form_of_the_key(keys: Path, file: Path, name: str) -> None:
    protected = name in ("pkcs8.pem", "legacy.pem")
    signature = sign_file(file, load_signing_key(keys / name, ask=(lambda: PASSPHRASE) if protected else never))
    assert signature == file.with_name("manifest.json.sig")
    assert openssl_verifies(file, keys / "key.pub")
    assert not openssl_verifies(file, keys / "other.pub")
    file.write_bytes(file.read_bytes() + b" ")
    assert not openssl_verifies(file, keys / "key.pub")


def test_signature_by_openssl_is_accepted(keys: Path, file: Path) -> None:
    openssl("dgst", "-sha256", "-sign", keys / "key.pem", "-out", f"{file}.sig", file)
    signature = Path(f"{file}.sig").read_bytes()
    for name in ("key.pub", "key.crt"):
        verify_signature(file.read_bytes(), signature, load_public_key(keys / name))
    with pytest.raises(SignatureError, match=r"another key than other\.pub"):
        verify_signature(file.read_bytes(), signature, load_public_key(keys / "other.pub"))
    with pytest.raises(SignatureError):
        verify_signature(file.read_bytes() + b" ", signature, load_public_key(keys / "key.pub"))


def test_same_file_and_key_give_the_same_signature(keys: Path, file: Path) -> None:
    key = load_signing_key(keys / "key.pem", ask=never)
    assert sign_file(file, key).read_bytes() == sign_file(file, key).read_bytes()
    assert key.public_pem == (keys / "key.pub").read_text()


def test_key_does_not_show_itself(keys: Path) -> None:
    assert repr(load_signing_key(keys / "key.pem", ask=never)) == "SigningKey()"


def test_key_in_an_age_file_with_a_passphrase(keys: Path, file: Path, tmp_path: Path) -> None:
    # Binary, as "age -p" writes it; the armoured form differs in nothing that is ours.
    sealed = tmp_path / "key.pem.age"
    sealed.write_bytes(pyrage.passphrase.encrypt((keys / "key.pem").read_bytes(), PASSPHRASE))
    sign_file(file, load_signing_key(sealed, ask=lambda: PASSPHRASE))
    assert openssl_verifies(file, keys / "key.pub")
    with pytest.raises(InputError, match=r"key\.pem\.age: wrong passphrase"):
        load_signing_key(sealed, ask=lambda: "wrong")


@pytest.mark.parametrize("armored", [True, False])
def test_key_in_an_age_file_to_recipients(keys: Path, file: Path, tmp_path: Path, *, armored: bool) -> None:
    private = pyrage.x25519.Identity.generate()
    data = (keys / "key.pem").read_bytes()
    sealed = tmp_path / "key.pem.age"
    if armored:
        sealed.write_text(encrypt(data, [parse_recipient(str(private.to_public()))]))
    else:
        sealed.write_bytes(pyrage.encrypt(data, [private.to_public()]))

    def open_with(identity: pyrage.x25519.Identity) -> SigningKey:
        known = Identity(str(identity.to_public()), identity)
        return load_signing_key(sealed, ask=never, identities=lambda: [known])

    sign_file(file, open_with(private))
    assert openssl_verifies(file, keys / "key.pub")
    with pytest.raises(NoMatchError, match=r"key\.pem\.age: none of the identities"):
        open_with(pyrage.x25519.Identity.generate())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p384.pem", "a key on the curve secp384r1, allowed is ECDSA on the curve P-256"),
        ("ed25519.pem", "Ed25519PrivateKey, allowed is ECDSA"),
        ("rsa.pem", "RSAPrivateKey, allowed is ECDSA"),
        ("key.pub", "this is a public key or certificate; to sign, the private key is needed"),
        ("key.crt", "this is a public key or certificate; to sign, the private key is needed"),
        ("nothing.pem", "the key cannot be read: no such file"),
    ],
)
def test_key_that_cannot_sign_is_refused_with_the_reason(keys: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_signing_key(keys / name, ask=never)
    assert name in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("name", ["pkcs8.pem", "legacy.pem"])
def test_wrong_passphrase_is_said(keys: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: wrong passphrase"):
        load_signing_key(keys / name, ask=lambda: "wrong")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p384.pub", "a key on the curve secp384r1"),
        ("ed25519.pub", "Ed25519PublicKey, allowed"),
        ("rsa.pub", "RSAPublicKey, allowed"),
        ("key.pem", "this is a private key; to verify, the public key is needed"),
        ("nothing.pub", "cannot be read"),
    ],
)
def test_key_that_cannot_verify_is_refused_with_the_reason(keys: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_public_key(keys / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x00\xff", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match="no public key or certificate in PEM"):
        load_public_key(tmp_path / "key")
    with pytest.raises(InputError):
        load_signing_key(tmp_path / "key", ask=never)
    (tmp_path / "key.age").write_bytes(content)
    with pytest.raises(InputError, match="not an age file"):
        load_signing_key(tmp_path / "key.age", ask=never)


def test_damaged_private_key_is_refused(keys: Path, tmp_path: Path) -> None:
    lines = (keys / "key.pem").read_text().splitlines()
    (tmp_path / "key.pem").write_text("\n".join([lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="no private key in PEM, or it is damaged"):
        load_signing_key(tmp_path / "key.pem", ask=never)
