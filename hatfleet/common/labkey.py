"""The lab's own SSH key: made on first use, it opens virtual devices on this machine and nothing else.

It lies in ``common`` because two sides need it that do not know each other: the image builder puts the public half
into lab images, and the lab logs in with the private half.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from hatfleet.common.errors import InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import state_dir

_COMMENT = "hatfleet-lab"


def lab_key_file() -> Path:
    """Return the lab's private key file (Ed25519, OpenSSH format, 0600), making the pair if there is none.

    Raises:
        InputError: the file is there but cannot be read or is no Ed25519 key.
    """
    key, _ = _key_pair()
    return key


def lab_public_key() -> str:
    """Return the lab's public key as one ``authorized_keys`` line, making the pair if there is none.

    Raises:
        InputError: the key file is there but cannot be read or is no Ed25519 key.
    """
    _, public = _key_pair()
    return public


def _key_pair() -> tuple[Path, str]:
    folder = state_dir() / "lab"
    key_file = folder / "id_ed25519"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file_lock(folder / ".id_ed25519.lock", "the lab key"):
        if not key_file.exists():
            private = Ed25519PrivateKey.generate()
            pem = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            write_atomic(key_file, pem, mode=0o600)
        public = _public_line(key_file)
        public_file = key_file.with_suffix(".pub")
        # The public file is a convenience for people; the private key alone decides what it says.
        if not public_file.exists() or public_file.read_text() != f"{public}\n":
            write_atomic(public_file, f"{public}\n")
    return key_file, public


def _public_line(key_file: Path) -> str:
    try:
        private = load_ssh_private_key(key_file.read_bytes(), password=None)
        if not isinstance(private, Ed25519PrivateKey):
            raise TypeError("it is not an Ed25519 key")
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"the lab key cannot be used: {error}",
            where=Where(key_file),
            hint="delete it and a new one is made; lab images built with the old one must be built again",
        ) from error
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{public} {_COMMENT}"
