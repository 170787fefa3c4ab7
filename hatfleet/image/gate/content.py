"""Secrets in the content of files, whatever the files are called."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import string
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyrage

from hatfleet.image.gate import model
from hatfleet.image.gate.der import binary_keys
from hatfleet.image.gate.model import Finding, Rule
from hatfleet.image.gate.pem import pem_keys

Check = Callable[["re.Match[bytes]"], bool]

_ELF = b"\x7fELF"
_GZIP = b"\x1f\x8b"

#: Compressed and media files, by their first bytes: nothing in them can be read as it stands.
_OPAQUE = (
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
    b"BZh",
    b"PK\x03\x04",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"\x04\x22\x4d\x18",
)

#: How much of a gzip file is looked at, bytes: examples and manual pages are small.
_GUNZIP_LIMIT = 4 * 2**20


@dataclass(frozen=True)
class Pattern:
    """What a secret looks like.

    Attributes:
        rule: The rule it breaks.
        what: What it is, for the finding.
        anchor: Bytes that every hit has; the expression is tried only where they are.
        shape: The whole of it, with its bounds.
        check: Tells a real one from a look-alike, by a checksum for example.
    """

    rule: Rule
    what: str
    anchor: bytes
    shape: re.Pattern[bytes]
    check: Check = lambda hit: True


def _wireguard(hit: re.Match[bytes]) -> bool:
    """Whether it is 32 bytes, and not the same byte over and over, as in an example."""
    try:
        return len(set(base64.b64decode(hit[1]))) > 4
    except binascii.Error:
        return False


def _age(hit: re.Match[bytes]) -> bool:
    """Whether the checksum in an age identity is right."""
    try:
        pyrage.x25519.Identity.from_str(hit[0].decode())
    except pyrage.IdentityError:
        return False
    return True


_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _github(hit: re.Match[bytes]) -> bool:
    """Whether the checksum at the end of a GitHub token is right (six digits, base 62, CRC-32 of what is before)."""
    body, wanted = hit[1], hit[2].decode()
    number, digits = zlib.crc32(body), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits == wanted


def _not_an_example(hit: re.Match[bytes]) -> bool:
    return not hit[0].endswith(b"EXAMPLE")


# The shapes of password hashes are those of crypt(5).
_B64 = rb"[./0-9A-Za-z]"
_START, _END = rb"(?<![\w./$])", rb"(?![\w./$])"


def _crypt(what: str, anchor: bytes, shape: bytes) -> Pattern:
    return Pattern(model.PASSWORD_HASH, what, anchor, re.compile(_START + shape + _END))


def _token(what: str, anchor: bytes, shape: bytes, check: Check = lambda hit: True) -> Pattern:
    return Pattern(model.TOKEN, what, anchor, re.compile(rb"(?<![\w/+-])" + shape + rb"(?![\w/+-])"), check)


#: Looked for in programs, too: a key that was compiled in is still a key.
EVERYWHERE = (
    Pattern(model.PRIVATE_KEY, "PuTTY private key", b"PuTTY-User-Key", re.compile(rb"\APuTTY-User-Key-File-[1-9]: ")),
    Pattern(
        model.PRIVATE_KEY,
        "age identity",
        b"AGE-SECRET-KEY-1",
        re.compile(rb"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}(?![0-9A-Z])"),
        _age,
    ),
)

#: Looked for in files that are no programs.
IN_TEXT = (
    Pattern(
        model.PRIVATE_KEY,
        "age identity (post-quantum or of a plugin)",
        b"AGE-",
        re.compile(rb"(?m)^AGE-(?:SECRET-KEY-PQ|PLUGIN-[0-9A-Z-]+)-1[02-9AC-HJ-NP-Z]{32,}\r?$"),
    ),
    Pattern(
        model.PRIVATE_KEY,
        "WireGuard private key",
        b"rivate",
        re.compile(rb"(?im)^[ \t]*private-?key[ \t]*=[ \t]*([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)[ \t]*\r?$"),
        _wireguard,
    ),
    Pattern(
        model.PRIVATE_KEY,
        "WireGuard preshared key",
        b"reshared",
        re.compile(rb"(?im)^[ \t]*preshared-?key[ \t]*=[ \t]*([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)[ \t]*\r?$"),
        _wireguard,
    ),
    Pattern(
        model.PRIVATE_KEY,
        "GnuPG private key",
        b"private-key",
        re.compile(
            rb"\A(?:\(\d\d:(?:protected-|shadowed-)?private-key|(?:[A-Z][A-Za-z-]*:.*\n)*Key: \([a-z-]*private-key )"
        ),
    ),
    Pattern(
        model.PRIVATE_KEY,
        "minisign or signify secret key",
        b"secret key\n",
        re.compile(rb"\Auntrusted comment: .*secret key\r?\n[A-Za-z0-9+/]{100,}={0,2}\s*\Z"),
    ),
    _crypt("password hash (yescrypt)", b"y$", rb"\$g?y\$" + _B64 + rb"+\$" + _B64 + rb"{0,86}\$" + _B64 + rb"{43}"),
    _crypt("password hash (SHA-512)", b"$6$", rb"\$6\$(?:rounds=\d+\$)?[^$:\s]{0,16}\$" + _B64 + rb"{86}"),
    _crypt("password hash (SHA-256)", b"$5$", rb"\$5\$(?:rounds=\d+\$)?[^$:\s]{0,16}\$" + _B64 + rb"{43}"),
    _crypt("password hash (bcrypt)", b"$2", rb"\$2[abxy]\$\d\d\$" + _B64 + rb"{53}"),
    _crypt("password hash (scrypt)", b"$7$", rb"\$7\$" + _B64 + rb"{11,97}\$" + _B64 + rb"{43}"),
    _crypt("password hash (MD5)", b"1$", rb"\$(?:1|apr1)\$[^$:\s]{1,8}\$" + _B64 + rb"{22}"),
    _crypt(
        "password hash (argon2)",
        b"$argon2",
        rb"\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}",
    ),
    _crypt("password hash (GRUB)", b"grub.pbkdf2.", rb"grub\.pbkdf2\.sha512\.\d+\.[0-9A-Fa-f]{32,}\.[0-9A-Fa-f]{64,}"),
    Pattern(
        model.PASSWORD_HASH,
        "password hash (salted SHA-1)",
        b"{SSHA",
        re.compile(rb"\{SSHA(?:256|512)?\}[A-Za-z0-9+/]{32,}={0,2}(?![A-Za-z0-9+/=])"),
    ),
    Pattern(
        model.PASSPHRASE,
        "passphrase or key of a wireless network",
        b"psk",
        re.compile(rb'(?m)^[ \t]*psk[ \t]*=[ \t]*(?:"[^"\n]{8,63}"|[0-9a-fA-F]{64})[ \t]*\r?$'),
    ),
    Pattern(
        model.PASSPHRASE,
        "passphrase of a wireless network (NetworkManager)",
        b"wifi-security]",
        re.compile(rb"(?m)^\[wifi-security\]\s*\n(?:(?!\[).*\n)*?psk=[^\s].{7,62}\r?$"),
    ),
    Pattern(
        model.PASSPHRASE,
        "passphrase or key of a wireless network (iwd)",
        b"[Security]",
        re.compile(rb"(?m)^\[Security\]\s*\n(?:(?!\[).*\n)*?(?:Passphrase=.{8,63}|PreSharedKey=[0-9a-fA-F]{64})\r?$"),
    ),
    _token("access key of AWS", b"A", rb"(?:AKIA|ASIA)[0-9A-Z]{16}", _not_an_example),
    _token("token of GitHub", b"gh", rb"gh[pousr]_([A-Za-z0-9]{30})([A-Za-z0-9]{6})", _github),
    _token("token of GitHub", b"github_pat_", rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _token("token of GitLab", b"glpat-", rb"glpat-[A-Za-z0-9_-]{20,}(?:\.[a-z0-9.]+)?"),
    _token("API key of Google", b"AIza", rb"AIza[0-9A-Za-z_-]{35}"),
    _token("token of Slack", b"xox", rb"xox[abeoprs]-\d{9,}-[0-9A-Za-z-]{20,}"),
    _token("key of an Azure account", b"AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}=="),
    _token("token of Hugging Face", b"hf_", rb"hf_[A-Za-z]{34}"),
    _token("token of PyPI", b"pypi-AgEI", rb"pypi-AgEI[A-Za-z0-9_-]{60,}"),
    _token("key of Tailscale", b"tskey-", rb"tskey-(?:auth|api|client)-[A-Za-z0-9]{8,}-[A-Za-z0-9]{20,}"),
)


def judge_content(path: str, data: bytes) -> Iterator[Finding]:
    """Yield what is secret in a file, each kind once.

    Args:
        path: The file, as on the device.
        data: Its content.
    """
    found = dict.fromkeys(_secrets(data))
    if not found:
        return
    digest = hashlib.sha256(data).hexdigest()
    for rule, what in found:
        host_key = rule is model.PRIVATE_KEY and (_holds_host_keys(path) or "Dropbear" in what)
        yield Finding.of(model.HOST_KEY if host_key else rule, path, what, digest)


def _holds_host_keys(path: str) -> bool:
    return path.startswith("/etc/ssh/") or path.rpartition("/")[2].startswith("ssh_host_")


def _secrets(data: bytes) -> Iterator[tuple[Rule, str]]:
    if data.startswith(_OPAQUE):
        return
    if data.startswith(_GZIP):
        data = _gunzip(data)
    for what in (*pem_keys(data), *binary_keys(data)):
        yield model.PRIVATE_KEY, what
    patterns = EVERYWHERE if data.startswith(_ELF) else EVERYWHERE + IN_TEXT
    for pattern in patterns:
        if pattern.anchor in data and any(pattern.check(hit) for hit in pattern.shape.finditer(data)):
            yield pattern.rule, pattern.what


def _gunzip(data: bytes) -> bytes:
    """Return the beginning of what is compressed; nothing when it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _GUNZIP_LIMIT)
    except zlib.error:
        return b""
