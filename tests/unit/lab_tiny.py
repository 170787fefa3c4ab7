"""A disk image whose "kernel" is forty bytes of arm64 code: it prints a text on the serial console and halts.

With it, the lab's machine room (disk, firmware stage, QEMU, console) is tested for real within a second.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

SECTOR = 512
FAT_START = 64
FAT_SECTORS = 2880

_NOP = 0xD503201F

#: What the kernel does after its text: PSCI calls (Arm DEN 0022) by the conduit of QEMU's virt machine.
_ENDS = {
    "halt": (_NOP, _NOP, _NOP),
    "off": (0x52800100, 0x72B08000, 0xD4000002),  # SYSTEM_OFF: movz w0, #8; movk w0, #0x8400, lsl #16; hvc #0
    "reset": (0x52800120, 0x72B08000, 0xD4000002),  # SYSTEM_RESET: movz w0, #9; …
}


def tiny_kernel(text: str, end: str = "halt") -> bytes:
    """A "kernel" that says ``text`` and then halts, switches the machine off or resets it."""
    code = struct.pack(
        "<11I",
        0xD2A12000,  # movz x0, #0x900, lsl #16   the PL011 of QEMU's virt machine
        0x10000141,  # adr x1, text
        0x38401422,  # next: ldrb w2, [x1], #1
        0x34000062,  # cbz w2, end
        0xB9000002,  # str w2, [x0]
        0x17FFFFFD,  # b next
        *_ENDS[end],
        0xD503207F,  # halt: wfi
        0x17FFFFFF,  # b halt
    )
    return code + text.encode() + b"\0"


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """A first sector with partitions of (type, first sector, number of sectors)."""
    table = b"".join(struct.pack("<BBHBBHII", 0, 0, 0, kind, 0, 0, first, count) for kind, first, count in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def tiny_image(path: Path, text: str, *, leave_out: str = "", cmdline: str = "console=ttyAMA0\n") -> Path:
    """Write a bootable disk image that says ``text``."""
    content = {
        "vmlinuz": tiny_kernel(text),
        "initrd.img": b"none",
        "cmdline.txt": cmdline.encode(),
    }
    size = (FAT_START + FAT_SECTORS) * SECTOR
    path.write_bytes(mbr((0x0C, FAT_START, FAT_SECTORS)).ljust(size, b"\0"))
    fat = f"{path}@@{FAT_START * SECTOR}"
    subprocess.run(["mformat", "-i", fat, "-f", "1440", "::"], check=True)
    for name, data in content.items():
        if name != leave_out:
            subprocess.run(["mcopy", "-i", fat, "-", f"::{name}"], input=data, check=True)
    return path


def key_line(filler: str = "A") -> str:
    """What the host key service prints, with a well-formed key."""
    return f"hatfleet-hostkey: ssh-ed25519 {some_key(filler)}"


def some_key(filler: str = "A") -> str:
    """The base64 part of an Ed25519 key; the filler is a letter from A to P, or the length in it would be wrong."""
    return "AAAAC3NzaC1lZDI1NTE5AAAAI" + filler * 43
