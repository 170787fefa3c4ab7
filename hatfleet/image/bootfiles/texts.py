"""The firmware's own files, as bytes: autoboot.txt, config.txt and the kernel command lines.

The format is Raspberry Pi's (documentation, config_txt and eeprom-bootloader); the lab's firmware stage reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hatfleet.common.errors import HatfleetError
from hatfleet.image.platforms import Platform, PlatformOptions

Slot = Literal["a", "b"]

#: Number of the partition that each slot boots from.
BOOT_PARTITIONS: dict[Slot, int] = {"a": 2, "b": 3}

#: Names on the boot partition, the same on every platform.
KERNEL_FILE, INITRAMFS_FILE = "vmlinuz", "initrd.img"

#: One sector, so that a commit is one sector written in place; also the most that the firmware reads.
AUTOBOOT_BYTES = 512

#: The kernel takes 2048 bytes with the final zero (COMMAND_LINE_SIZE, arch/arm64/include/uapi/asm/setup.h) and drops
#: the rest without a word; the firmware puts up to some 350 bytes of its own before ours.
MAX_CMDLINE_BYTES = 2047 - 512


def autoboot_txt(active: int = BOOT_PARTITIONS["a"], trial: int = BOOT_PARTITIONS["b"]) -> bytes:
    """Return autoboot.txt: which partition boots, and which one boots once when a trial was asked for.

    Args:
        active: Number of the partition.
        trial: Number of the partition for a trial.

    Returns:
        Exactly 512 bytes: the file never changes its size or place, whatever slot it names.

    Raises:
        ValueError: the two are the same, or not both slots.
    """
    if {active, trial} != set(BOOT_PARTITIONS.values()):
        raise ValueError(f"the slots boot from partitions 2 and 3, not {active} and {trial}")
    text = f"[all]\ntryboot_a_b=1\nboot_partition={active}\n[tryboot]\nboot_partition={trial}\n"
    return text.encode().ljust(AUTOBOOT_BYTES, b"\n")


def cmdline_file(platform: Platform, slot: Slot) -> str:
    """Return the name of the file with a slot's command line."""
    return f"cmdline-{slot}.txt" if platform.slot_filter else "cmdline.txt"


def config_txt(platform: Platform, options: PlatformOptions, *, signed: bool = False) -> bytes:
    """Return config.txt, the same for both slots: only what the machine needs, each line with its reason above it.

    Args:
        platform: The machine.
        options: What the recipe chose for it.
        signed: Whether it lies inside a signed boot.img.
    """
    lines = ["# Made with the image. Both slots have the same file.", f"kernel={KERNEL_FILE}"]
    lines.append(f"initramfs {INITRAMFS_FILE} followkernel")
    lines += platform.config
    for choice, effect in platform.effects(options):
        if effect.config:
            lines += [f"# {choice.why}", *effect.config]
    if signed:
        lines += ["# The device key stays out of the system's reach.", "lock_device_private_key=1"]
    if options.config_lines:
        lines += ["# From the recipe.", *options.config_lines]
    if platform.slot_filter:
        lines.append("# The command line names the slot.")
        for slot, number in BOOT_PARTITIONS.items():
            lines += [f"[boot_partition={number}]", f"cmdline={cmdline_file(platform, slot)}"]
        # What the boot loader's own configuration appends belongs to every slot.
        lines.append("[all]")
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def ramdisk_config_txt() -> bytes:
    """Return the config.txt beside a signed boot.img: it says no more than that the rest is in there."""
    return b"# Everything else is in boot.img, which boot.sig signs.\nboot_ramdisk=1\n"


def cmdline(platform: Platform, arguments: Sequence[str], slot: Slot) -> bytes:
    """Return a slot's kernel command line.

    Args:
        platform: The machine. Where its firmware cannot tell the slots apart, the line says ``hatfleet.slot=firmware``
            for both, and the initramfs asks the device tree (``/chosen/bootloader/partition``).
        arguments: The platform's (``Platform.arguments_for``), the roles' and the root file system's.
        slot: The slot.

    Raises:
        HatfleetError: an argument is empty or has a blank or a character that is not plain ASCII, the slot is among
            them, or the line is longer than the kernel reads.
    """
    for argument in arguments:
        if not argument or not argument.isascii() or not argument.isprintable() or " " in argument:
            raise HatfleetError(f"{argument!r} cannot be a kernel argument: it must be one word of plain ASCII")
        if argument.startswith("hatfleet.slot="):
            raise HatfleetError(f"the image sets {argument} itself", hint="remove it from the kernel arguments")
    line = " ".join([*arguments, f"hatfleet.slot={slot if platform.slot_filter else 'firmware'}"])
    if len(line) > MAX_CMDLINE_BYTES:
        raise HatfleetError(
            f"the kernel command line has {len(line)} characters; {MAX_CMDLINE_BYTES} leave room for the firmware's",
            hint="remove kernel arguments from the settings of the roles",
        )
    return f"{line}\n".encode("ascii")
