"""SSH public keys that lie in the image: each may open an account, or be half of a host key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterator

from hatfleet.image.gate import model
from hatfleet.image.gate.model import Finding

#: The least that a line with a key has: a base64 text that begins with three zero bytes, a length, as keys do.
_ANCHOR = b" AAAA"

_KINDS = (
    rb"(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-nistp\d{3}|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    rb"(?:-cert-v01@openssh\.com)?"
)

#: A line of authorized_keys, or of a file of trusted CAs: options, kind, key (sshd(8)). Lines of known_hosts begin with
#: a host name, which is no option: they open nothing.
_OPTION_NAMES = (
    rb"(?=(?:no-)?(?:agent-forwarding|cert-authority|command|environment|expiry-time|from|port-forwarding|permitlisten"
    rb"|permitopen|principals|pty|restrict|touch-required|tunnel|user-rc|verify-required|X11-forwarding|x11-forwarding)\b)"
)
_LINE = re.compile(
    rb"(?m)^[ \t]*(?:"
    + _OPTION_NAMES
    + rb"[^\n]*?[ \t]+)?("
    + _KINDS
    + rb")[ \t]+(AAAA[A-Za-z0-9+/]{40,}={0,3})(?=\s|\Z)"
)


def judge_public_keys(path: str, data: bytes, declared: Collection[str]) -> Iterator[Finding]:
    """Yield every SSH public key in a file that is not declared.

    Args:
        path: The file, as on the device.
        data: Its content.
        declared: The base64 texts of the keys that the recipe declares.
    """
    if _ANCHOR not in data:
        return
    rule = model.HOST_KEY if path.rpartition("/")[2].startswith("ssh_host_") else model.AUTHORIZED_KEY
    for hit in _LINE.finditer(data):
        kind, blob = hit[1].decode(), hit[2].decode()
        if blob not in declared and _is_key(kind, blob):
            what = (
                f"SSH public key {_fingerprint(blob)}" if rule is model.AUTHORIZED_KEY else "public half of a host key"
            )
            yield Finding.of(rule, path, f"{what} ({kind})", hashlib.sha256(data).hexdigest())


def _is_key(kind: str, blob: str) -> bool:
    """Whether the key says itself that it is of the kind before it."""
    try:
        raw = base64.b64decode(blob + "=" * (-len(blob) % 4))
    except binascii.Error:
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")] == kind.encode()


def _fingerprint(blob: str) -> str:
    """Return the fingerprint as ssh-keygen -l shows it."""
    raw = base64.b64decode(blob + "=" * (-len(blob) % 4))
    return "SHA256:" + base64.b64encode(hashlib.sha256(raw).digest()).decode().rstrip("=")
