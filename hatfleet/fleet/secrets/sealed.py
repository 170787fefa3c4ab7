"""Bytes that only one other process can read: how a job, secrets and all, travels to a worker on another machine.

The worker makes an identity of its own for the run and hands out the recipient; whatever lies between (a scheduler,
its queue, its logs) sees only an age file.
"""

from __future__ import annotations

from pyrage import DecryptError, RecipientError, decrypt, encrypt, x25519

from hatfleet.common.errors import HatfleetError


def new_identity() -> tuple[str, str]:
    """Return a fresh X25519 identity (``AGE-SECRET-KEY-1…``, to be kept in memory) and its recipient (``age1…``)."""
    identity = x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def seal(data: bytes, *recipients: str) -> bytes:
    """Encrypt data so that any of the recipients can read it: a binary age file.

    Raises:
        HatfleetError: a recipient is not an ``age1…`` public key.
    """
    try:
        to = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    except RecipientError as error:
        raise HatfleetError("cannot seal data: the worker's recipient is not an age1… public key") from error
    return bytes(encrypt(data, to))


def unseal(data: bytes, identity_text: str) -> bytes:
    """Decrypt what ``seal`` made for this identity.

    Raises:
        HatfleetError: the data was altered, or sealed to somebody else.
    """
    try:
        return bytes(decrypt(data, [x25519.Identity.from_str(identity_text)]))
    except DecryptError as error:
        raise HatfleetError(
            "cannot unseal data: it was altered on the way, or sealed to another worker",
            hint="run the command again; each run uses fresh keys",
        ) from error
