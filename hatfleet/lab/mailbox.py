"""The device's line to its firmware: how it arms the one-shot tryboot flag.

On a board a program asks the VideoCore by mailbox (vcmailbox 0x00038064); in the lab it writes lines to the port
``/dev/virtio-ports/hatfleet.firmware``. Each request is a line, and each is answered with one:

    set reboot_flags 1      → reboot_flags 1
    get reboot_flags        → reboot_flags 1
    anything else           → error: …

Bit 0 is tryboot. The requests come from inside the device and are not to be trusted.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

#: Bit 0 of the reboot flags (SET_REBOOT_FLAGS of the mailbox).
TRYBOOT = 1

#: A request is shorter; the rest of a longer line is thrown away.
MAX_LINE_BYTES = 128

_SET = re.compile(rb"set reboot_flags ([01])")
_GET = b"get reboot_flags"


@dataclass
class RebootFlags:
    """What the next boot is to know. They live in the supervisor's memory: whoever cuts the power loses them."""

    value: int = 0

    def take_tryboot(self) -> bool:
        """Return whether the next boot is a trial, and forget it."""
        taken, self.value = bool(self.value & TRYBOOT), 0
        return taken

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a line from the device, without line ends."""
        if match := _SET.fullmatch(request):
            self.value = int(match[1])
        elif request != _GET:
            return b"error: say 'set reboot_flags 0', 'set reboot_flags 1' or 'get reboot_flags'"
        return b"reboot_flags %d" % self.value


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flags: RebootFlags) -> None:
    """Answer a device's requests until its machine ends.

    Args:
        reader: Made with ``MAX_LINE_BYTES`` as its limit.
        writer: Takes the answers.
        flags: What is asked about.
    """
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            # Longer than the limit.
            line = b"\n"
        if not line.endswith(b"\n"):
            return
        writer.write(flags.answer(line.strip()) + b"\n")
        # A device that does not read its answers is not read either.
        await writer.drain()
