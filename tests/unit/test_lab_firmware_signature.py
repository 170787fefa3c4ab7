from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from hatfleet.common.errors import InputError
from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.signature import load_key, parse_signature, verify
from tests.unit.lab_disks import boot_sig, make_key, public_pem

KEY = make_key()
IMAGE = b"a boot image"


def test_a_signature_by_openssl_is_accepted(tmp_path: Path) -> None:
    key, image = tmp_path / "key.pem", tmp_path / "boot.img"
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    image.write_bytes(IMAGE)
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r", image], check=True, capture_output=True).stdout[:64]
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key, image], check=True, capture_output=True).stdout
    content = digest + b"\nts: 1700000000\nrsa2048: " + signed.hex().encode() + b"\n"
    assert content == boot_sig(IMAGE, KEY)
    verify(IMAGE, content, load_key(public_pem(KEY)))
    assert parse_signature(content).time_s == 1700000000


@pytest.mark.parametrize(
    ("image", "signature", "message"),
    [
        (IMAGE + b"!", boot_sig(IMAGE, KEY), "another boot.img"),
        (IMAGE, boot_sig(b"other", KEY, claim=IMAGE), "not made with the key"),
        (IMAGE, boot_sig(IMAGE, make_key("another")), "not made with the key"),
        (IMAGE, b"", "format"),
        (IMAGE, boot_sig(IMAGE, KEY)[:-1], "format"),
        (IMAGE, boot_sig(IMAGE, KEY) + b"\n", "format"),
        (IMAGE, boot_sig(IMAGE, KEY).upper(), "format"),
        (IMAGE, boot_sig(IMAGE, KEY).replace(b"ts: ", b"ts:"), "format"),
        (IMAGE, boot_sig(IMAGE, KEY).replace(b"rsa2048", b"target-soc: 2712\nrsa2048"), "format"),
    ],
)
def test_anything_but_the_owners_signature_is_refused(image: bytes, signature: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        verify(image, signature, KEY.public_key())


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no public key"),
        (KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "a private key"),
        (public_pem(rsa.generate_private_key(65537, 3072)), "2048 bits"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "2048 bits",
        ),
    ],
)
def test_other_keys_are_refused_with_the_file_named(pem: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"owner.pub.*{message}"):
        load_key(pem, Path("owner.pub"))
