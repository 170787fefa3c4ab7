"""The simulated firmware stage: what a Raspberry Pi 5's bootloader does between power-on and the kernel.

A board's bootloader reads the partition table, follows ``autoboot.txt`` to a boot FAT, reads ``config.txt`` there,
checks ``boot.sig`` if it was given a key, and hands kernel, initramfs, command line and device tree to the processor.
QEMU has no such machine, so this package does the same with the device's own disk (never the image under it: what a
device changed on its boot partitions counts) and hands the result to QEMU.

A module for each thing: ``table`` (MBR and GPT), ``filters`` (the sections of the two text files), ``autoboot``,
``config``, ``signature`` (boot.sig), ``select`` (which partition: a pure function), ``volume`` (a FAT read by mtools),
``load`` (all of it, for a disk), ``devicetree`` (what the kernel is told). Every decision is a line of the log.
docs/how-to/lab.md says what is simulated, docs/decisions/0009-lab-firmware.md why it is so.
"""

from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.load import BootFiles, load

__all__ = ["BootFiles", "FirmwareError", "load"]
