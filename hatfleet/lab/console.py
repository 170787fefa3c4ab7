"""The serial console: what a device says while it boots, read from its log file.

Everything here comes from inside the device and is not to be trusted: bytes may be broken, lines endless, terminal
escape sequences hostile.
"""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

#: A line longer than this is cut: nothing we look for is that long, and memory is not the device's to fill.
MAX_LINE_BYTES = 16 * 1024

_HOST_KEY = re.compile(r"hatfleet-hostkey: ssh-ed25519 ([A-Za-z0-9+/]{68})(?![A-Za-z0-9+/=])")
# The wire format of RFC 8709: the name of the algorithm and 32 bytes of key, each behind its length.
_KEY_HEAD = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32)
_KEY_BYTES = len(_KEY_HEAD) + 32

_FATAL = (
    (re.compile(r"Kernel panic - not syncing.*"), "the kernel panicked"),
    (re.compile(r"You are in emergency mode|emergency\.target\b.*Emergency Mode"), "it went into emergency mode"),
    (re.compile(r"ALERT!.*|^\(initramfs\).*"), "the initramfs gave up"),
)

# CSI and OSC sequences first, then any other two-character escape, then what is left of control characters.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b.?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Return text without terminal escape sequences and control characters (line feeds and tabs stay)."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def host_key(line: str) -> str | None:
    """Return the SSH host key that a console line announces, or None.

    Only a complete and well-formed Ed25519 key counts: a kernel message printed into the middle of the line must
    not become a pinned key.
    """
    match = _HOST_KEY.search(line)
    if not match:
        return None
    raw = base64.b64decode(match[1])
    if len(raw) != _KEY_BYTES or not raw.startswith(_KEY_HEAD):
        return None
    return f"ssh-ed25519 {match[1]}"


def fatal_reason(line: str) -> str | None:
    """Return why this boot will never end, if the line says so: a panic, emergency mode, a failed initramfs."""
    for pattern, reason in _FATAL:
        match = pattern.search(line)
        if match:
            return f"{reason} ({match[0].strip()[:200]})"
    return None


@dataclass
class ConsoleReader:
    """Reads the lines that are added to a console log, each once, when it is complete."""

    log: Path
    offset: int = 0
    _partial: bytes = field(default=b"", repr=False)

    @classmethod
    def at_end(cls, log: Path) -> ConsoleReader:
        """Return a reader that sees only what comes from now on."""
        return cls(log, log.stat().st_size if log.exists() else 0)

    def lines(self) -> list[str]:
        """Return the lines completed since the last call, cleaned."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as handle:
            handle.seek(self.offset)
            data = handle.read()
        self.offset += len(data)
        *complete, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[:MAX_LINE_BYTES]
        return [clean(line[:MAX_LINE_BYTES].decode(errors="replace")) for line in complete]

    def rest(self) -> str:
        """Return the line that is not complete yet, cleaned; a device may have ended in the middle of it."""
        return clean(self._partial.decode(errors="replace"))
