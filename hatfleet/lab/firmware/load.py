"""The firmware stage for a disk: from power-on to what the kernel is started with."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hatfleet.lab.firmware.config import parse_command_line
from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.select import Choice, Log, select
from hatfleet.lab.firmware.table import read_table
from hatfleet.lab.firmware.volume import Disk, DiskVolumes

#: BOOT_ORDER's number for an SD card, which the device's disk stands in for (eeprom-bootloader.adoc).
BOOT_MODE_SD = 1

#: Bits of /chosen/bootloader/signed: SIGNED_BOOT is set, the owner's key is in OTP (configuration/device-tree.adoc).
_SIGNED_BOOT, _KEY_IN_OTP = 1 << 0, 1 << 3

#: Bits of /chosen/bootloader/capabilities: TRYBOOT_A_B, TRYBOOT, boot.img, secure boot (same document).
CAPABILITIES = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7


@dataclass(frozen=True)
class BootFiles:
    """What the firmware hands to the kernel, and the kernel itself.

    Attributes:
        kernel: The kernel.
        initrd: The initramfs; None: none.
        command_line: The kernel's arguments.
        partition: Where it was booted from.
        tryboot: This boot is a trial.
        signed: boot.img was verified with the device's key.
    """

    kernel: Path
    initrd: Path | None
    command_line: str
    partition: int
    tryboot: bool = False
    signed: bool = False

    def bootloader_values(self) -> dict[str, int]:
        """Return the numbers for /chosen/bootloader in the device tree, named as on a board."""
        signed = _SIGNED_BOOT | _KEY_IN_OTP if self.signed else 0
        return {
            "partition": self.partition,
            "tryboot": int(self.tryboot),
            "boot-mode": BOOT_MODE_SD,
            # Documented as signed_boot; what a Pi 5 shows and Raspberry Pi's own programs read is called signed.
            "signed": signed,
            "signed_boot": signed,
            "capabilities": CAPABILITIES,
        }


def load(
    disk: Path, folder: Path, *, tryboot: bool = False, key: RSAPublicKey | None = None, log: Log = lambda line: None
) -> BootFiles:
    """Do what the firmware does: find what to boot on a disk and load what is needed to start the kernel.

    Args:
        disk: The device's disk (qcow2); no machine may be running on it.
        folder: Where the kernel and the initramfs are put, over what an earlier start left there.
        tryboot: The one-shot flag, cleared by the caller.
        key: The device's pinned key for boot.img.
        log: Takes the firmware's log, line by line.

    Raises:
        FirmwareError: the disk is not bootable; the message says what is missing.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".firmware.") as name:
        work = Path(name)
        opened = Disk(disk, work)
        table = read_table(opened.read, opened.size_bytes)
        volumes = DiskVolumes(opened, table.partitions, work)
        log(f"{table.kind}, FAT partitions: {' '.join(map(str, volumes)) or 'none'}")
        choice = select(volumes, tryboot=tryboot, key=key, log=log)
        try:
            return _load(choice, folder)
        except FirmwareError as error:
            if not choice.tryboot:
                raise
            log(f"the trial ends here: {error.message}; restart without the flag")
        return _load(select(volumes, tryboot=False, key=key, log=log), folder)


def _load(choice: Choice, folder: Path) -> BootFiles:
    files, config = choice.files, choice.config
    command_line = parse_command_line(files.read(config.command_line), config.command_line)
    return BootFiles(
        kernel=_write(folder / "vmlinuz", files.read(config.kernel)),
        initrd=_write(folder / "initrd.img", files.read(config.initramfs)) if config.initramfs else None,
        command_line=command_line,
        partition=choice.partition,
        tryboot=choice.tryboot,
        signed=choice.signed,
    )


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
