"""Signed boot: boot.img, one file with everything the firmware loads, and boot.sig, which the board's key verifies."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from hatfleet.common.errors import InputError, Where
from hatfleet.image.bootfiles.collect import BootFile, write_tree
from hatfleet.image.disk import MIB
from hatfleet.image.fat import make_fat, tree_mib
from hatfleet.image.tools import Tools

#: The boot loader's limit for the Raspberry Pi 4 since 2021-10-27 (rpi-eeprom, firmware-2711/release-notes.md); none is
#: published for the Raspberry Pi 5.
MAX_RAMDISK_MIB = 96

#: The boards verify nothing else (rpi-eeprom, rpi-eeprom-digest).
KEY_BITS = 2048


def boot_image(
    image: Path,
    files: Iterable[BootFile],
    contents: Mapping[str, bytes],
    *,
    volume_id: int,
    epoch_s: int,
    tools: Tools,
    log: Path,
) -> str:
    """Make boot.img: a FAT file system, as small as its content allows.

    Args:
        image: The file to write.
        files: What ``collect`` found.
        contents: Further files by name: config.txt, the command lines, the initramfs.
        volume_id: 32-bit serial number of the file system.
        epoch_s: Time of every file, seconds since 1970.
        tools: Where mkfs.vfat and mtools come from.
        log: Receives what the tools print.

    Returns:
        Its SHA-256, which boot.sig signs, in hexadecimal digits.

    Raises:
        InputError: it is larger than the boot loader loads.
        MissingToolError, CommandError: a tool is missing or fails.
    """
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".boot-") as work:
        tree = Path(work) / "tree"
        write_tree(tree, files, contents)
        size_mib = tree_mib(tree)
        if size_mib > MAX_RAMDISK_MIB:
            raise InputError(
                f"boot.img would have {size_mib} MiB; the boot loader loads at most {MAX_RAMDISK_MIB} MiB",
                hint="leave modules out of the initramfs, or choose a smaller kernel",
            )
        made = Path(work) / "boot.img"
        size = size_mib * MIB
        make_fat(made, tree, size_bytes=size, volume_id=volume_id, label="BOOT", epoch_s=epoch_s, tools=tools, log=log)
        shutil.move(made, image)
    with image.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def boot_sig(sha256: str, key: rsa.RSAPrivateKey, timestamp_s: int) -> bytes:
    """Return boot.sig: hash, time and signature, each on a line, as Raspberry Pi's rpi-eeprom-digest writes it.

    Args:
        sha256: SHA-256 of boot.img, in hexadecimal digits.
        key: The key whose hash the boards have in their one-time memory.
        timestamp_s: Seconds since 1970. It is not signed.

    Raises:
        InputError: the key is of another size.
    """
    _require_size(key, None)
    digest = bytes.fromhex(sha256)
    # The hash is signed, not the file: the image need not be read a second time.
    signature = key.sign(digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    return f"{digest.hex()}\nts: {timestamp_s}\nrsa2048: {signature.hex()}\n".encode("ascii")


def load_signing_key(pem: bytes, passphrase: bytes | None, where: Where) -> rsa.RSAPrivateKey:
    """Read the secure-boot key.

    Args:
        pem: The private key, PEM.
        passphrase: What it is encrypted with, if it is.
        where: Where the recipe names it, for errors.

    Raises:
        InputError: it is no private key, its passphrase is wrong or missing, or it is not RSA with 2048 bits.
    """
    hint = f"the boards take RSA with {KEY_BITS} bits only: openssl genrsa -aes256 -out boot.pem {KEY_BITS}"
    if b"PRIVATE KEY-----" not in pem:
        what = "a public key" if b"PUBLIC KEY-----" in pem else "no PEM private key"
        raise InputError(f"the secure-boot key is {what}; the private key is needed to sign", where=where, hint=hint)
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError as error:
        state = "is encrypted: its passphrase is needed" if passphrase is None else "is not encrypted"
        raise InputError(f"the secure-boot key {state}", where=where) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            "the secure-boot key cannot be read: wrong passphrase, or damaged", where=where, hint=hint
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
        raise InputError(f"the secure-boot key is of the kind {kind}", where=where, hint=hint)
    _require_size(key, where)
    return key


def _require_size(key: rsa.RSAPrivateKey, where: Where | None) -> None:
    if key.key_size != KEY_BITS:
        raise InputError(f"the secure-boot key has {key.key_size} bits, the boards take {KEY_BITS}", where=where)
