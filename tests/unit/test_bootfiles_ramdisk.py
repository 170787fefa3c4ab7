"""Signed boot: openssl and a reader of our own judge boot.sig, mtools and fsck.vfat boot.img."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from hatfleet.common.errors import InputError, Where
from hatfleet.image.bootfiles import BootFile, boot_image, boot_sig, load_signing_key
from hatfleet.image.bootfiles import ramdisk as ramdisk_module
from hatfleet.image.tools import HostTools

EPOCH_S = 1754697600
WHERE = Where(Path("edge.yaml"), 9, "secure_boot.key")


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b""
) -> bytes:
    secret = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)


def read_boot_sig(content: bytes) -> tuple[str, int, bytes]:
    """An independent reader, strict about every byte of the format in rpi-eeprom's rpi-eeprom-digest."""
    found = re.fullmatch(rb"([0-9a-f]{64})\nts: ([0-9]+)\nrsa2048: ([0-9a-f]{512})\n", content)
    assert found, content
    return found[1].decode(), int(found[2]), bytes.fromhex(found[3].decode())


def verifies(image: Path, signature: bytes, key: rsa.RSAPrivateKey, work: Path) -> bool:
    public = key.public_key()
    (work / "key.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (work / "signature").write_bytes(signature)
    command = ["openssl", "dgst", "-sha256", "-verify", work / "key.pem", "-signature", work / "signature", image]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_openssl_accepts_boot_sig_and_only_for_this_image_and_key(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    image = tmp_path / "boot.img"
    image.write_bytes(b"boot image" * 1000)
    digest, time_s, signature = read_boot_sig(boot_sig(hashlib.sha256(image.read_bytes()).hexdigest(), key, EPOCH_S))
    assert (digest, time_s) == (hashlib.sha256(image.read_bytes()).hexdigest(), EPOCH_S)
    assert verifies(image, signature, key, tmp_path)
    assert not verifies(image, signature, rsa.generate_private_key(65537, 2048), tmp_path)
    image.write_bytes(b"boot image" * 999 + b"boot imagf")
    assert not verifies(image, signature, key, tmp_path)


def test_boot_sig_is_the_same_each_time(key: rsa.RSAPrivateKey) -> None:
    assert boot_sig("00" * 32, key, EPOCH_S) == boot_sig("00" * 32, key, EPOCH_S)
    assert boot_sig("00" * 32, key, EPOCH_S) != boot_sig("01" * 32, key, EPOCH_S)


def test_a_key_reads_back_with_its_passphrase(key: rsa.RSAPrivateKey) -> None:
    for passphrase in (b"", b"secret"):
        read = load_signing_key(pem(key, passphrase), passphrase or None, WHERE)
        assert read.private_numbers() == key.private_numbers()


def test_every_other_key_is_refused_with_its_place(key: rsa.RSAPrivateKey) -> None:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    cases: list[tuple[bytes, bytes | None, str]] = [
        (pem(rsa.generate_private_key(65537, 3072)), None, "has 3072 bits"),
        (pem(ec.generate_private_key(ec.SECP256R1())), None, "is of the kind EC"),
        (pem(ed25519.Ed25519PrivateKey.generate()), None, "is of the kind Ed25519"),
        (public, None, "is a public key"),
        (b"no key", None, "is no PEM private key"),
        (pem(key, b"secret"), None, "is encrypted: its passphrase is needed"),
        (pem(key, b"secret"), b"wrong", "wrong passphrase, or damaged"),
        (pem(key), b"secret", "is not encrypted"),
        (pem(key)[:200] + b"\n-----END PRIVATE KEY-----\n", None, "wrong passphrase, or damaged"),
    ]
    for content, passphrase, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            load_signing_key(content, passphrase, WHERE)
        assert caught.value.where == WHERE


def make_image(image: Path, work: Path, kernel: bytes = b"kernel") -> str:
    (work / "kernel").write_bytes(kernel)
    files = [BootFile("vmlinuz", work / "kernel"), BootFile("overlays/a.dtbo", work / "kernel")]
    contents = {"config.txt": b"kernel=vmlinuz\n", "cmdline-a.txt": b"quiet\n"}
    return boot_image(image, files, contents, volume_id=7, epoch_s=EPOCH_S, tools=HostTools(), log=work / "log")


def test_boot_image_is_a_sound_fat_with_everything_in_it(tmp_path: Path) -> None:
    image = tmp_path / "boot.img"
    digest = make_image(image, tmp_path)
    assert digest == hashlib.sha256(image.read_bytes()).hexdigest()
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", image], check=True, capture_output=True)
    for name, content in (("config.txt", b"kernel=vmlinuz\n"), ("overlays/a.dtbo", b"kernel")):
        shown = subprocess.run(["mtype", "-i", image, f"::/{name}"], check=True, capture_output=True)
        assert shown.stdout == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot.img", "kernel", "log"]


def test_boot_image_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    digests = {make_image(tmp_path / name / "boot.img", tmp_path / name) for name in ("one", "two")}
    assert len(digests) == 1


def test_boot_image_that_the_boot_loader_would_not_load_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramdisk_module, "MAX_RAMDISK_MIB", 40)
    with pytest.raises(InputError, match=r"boot\.img would have \d+ MiB; the boot loader loads at most 40 MiB"):
        make_image(tmp_path / "boot.img", tmp_path, kernel=bytes(30 * 1024 * 1024))
    assert not (tmp_path / "boot.img").exists()
