"""Which partition is booted: a pure function of the disk's content and the one-shot tryboot flag.

The rules are those of Raspberry Pi's bootloader for the Pi 5 from February 2026 on (release notes in rpi-eeprom,
config_txt/autoboot.adoc, PARTITION_WALK in eeprom-bootloader.adoc). Where these say nothing, the lab does what a
careful updater must expect; docs/decisions/0009-lab-firmware.md lists those cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hatfleet.lab.firmware import autoboot, signature
from hatfleet.lab.firmware.config import DEFAULT, Config, parse_config
from hatfleet.lab.firmware.errors import FirmwareError

#: A partition walk looks at partitions up to this number, then goes on with the first (PARTITION_WALK).
LAST_WALKED = 8


class Volume(Protocol):
    """A FAT file system; something that is none is a volume without files."""

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FirmwareError: it is not there or cannot be read.
        """
        ...

    def inside(self, name: str) -> Volume:
        """Return the FAT file system that a file holds.

        Raises:
            FirmwareError: the file is not there or cannot be read.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """What is booted.

    Attributes:
        partition: The partition, or the one that boot.img lies on.
        tryboot: This boot is a trial; the flag is used up.
        files: The volume with the kernel: the partition, or what is in boot.img.
        config: What its config.txt says.
        signed: boot.img was verified with the device's key.
    """

    partition: int
    tryboot: bool
    files: Volume
    config: Config
    signed: bool


#: Takes a line of the firmware's log.
Log = Callable[[str], None]


def select(volumes: Mapping[int, Volume], *, tryboot: bool, key: RSAPublicKey | None, log: Log) -> Choice:
    """Choose what to boot.

    Args:
        volumes: The partitions whose type says FAT, by number.
        tryboot: The one-shot flag; the caller has cleared it already: it counts for this call and no other.
        key: The device's pinned key: only what it signed is booted. None: anything is.
        log: Takes a line for every decision.

    Raises:
        FirmwareError: nothing can be booted; the message names what each partition lacks.
    """
    if not tryboot:
        return _attempt(volumes, tryboot=False, key=key, log=log)
    log("the tryboot flag was set; it is cleared")
    try:
        return _attempt(volumes, tryboot=True, key=key, log=log)
    except FirmwareError:
        log("nothing can be booted on trial; restart without the flag")
    return _attempt(volumes, tryboot=False, key=key, log=log)


def _attempt(volumes: Mapping[int, Volume], *, tryboot: bool, key: RSAPublicKey | None, log: Log) -> Choice:
    if not volumes:
        raise FirmwareError("the disk has no FAT partition to boot from")
    first = min(volumes)
    auto = _read_autoboot(volumes[first], first, tryboot=tryboot, log=log)
    wanted = auto.boot_partition or first
    a_b = auto.tryboot_a_b
    log(f"partition {wanted} is {'chosen by autoboot.txt' if auto.boot_partition else 'the first FAT'}")
    lacks = []
    for number in _walk(wanted, volumes):
        try:
            if number not in volumes:
                raise FirmwareError("is not there or no FAT")
            return _boot_from(number, volumes[number], trial=tryboot, other_name=tryboot and not a_b, key=key, log=log)
        except FirmwareError as error:
            log(f"partition {number} cannot be booted: it {error.message}")
            lacks.append(f"partition {number} {error.message}")
    raise FirmwareError(
        f"nothing on this disk can be booted: {'; '.join(lacks)}", hint="build the image again: provision image build"
    )


def _read_autoboot(volume: Volume, number: int, *, tryboot: bool, log: Log) -> autoboot.Autoboot:
    if not volume.has(autoboot.NAME):
        log(f"there is no {autoboot.NAME} on partition {number}")
        return autoboot.Autoboot()
    try:
        content = volume.read(autoboot.NAME)
    except FirmwareError as error:
        log(f"{autoboot.NAME} on partition {number} cannot be read: {error.message}")
        return autoboot.Autoboot()
    found = autoboot.parse_autoboot(content, tryboot=tryboot)
    if found.problem:
        log(f"{autoboot.NAME}: {found.problem}")
    return found


def _walk(wanted: int, volumes: Mapping[int, Volume]) -> Iterator[int]:
    """Yield the wanted partition, then the FAT ones after it, then those before it."""
    yield wanted
    others = [number for number in sorted(volumes) if number != wanted and number <= LAST_WALKED]
    yield from [number for number in others if number > wanted]
    yield from [number for number in others if number < wanted]


def _boot_from(
    number: int, volume: Volume, *, trial: bool, other_name: bool, key: RSAPublicKey | None, log: Log
) -> Choice:
    """Return what a partition boots, or raise with what it lacks ("has no vmlinuz").

    Args:
        number: The partition.
        volume: Its files.
        trial: This boot is a trial.
        other_name: It is a trial by file name (tryboot.txt for config.txt, tryboot.img for boot.img).
        key: The device's pinned key.
        log: Takes a line for every decision.

    Raises:
        FirmwareError: it cannot be booted.
    """
    stem, text = ("tryboot", "tryboot.txt") if other_name else ("boot", "config.txt")
    config = _read_config(volume, text, number, trial=trial)
    files, signed = volume, False
    if config.boot_ramdisk or key is not None:
        files, signed = _open_ramdisk(volume, stem, key)
        # Inside the ramdisk tryboot_a_b counts as set: the trial is the image, not another file in it.
        config = _read_config(files, "config.txt", number, trial=trial)
        log(
            f"{stem}.img of partition {number} is {'signed with the pinned key' if signed else 'not signature-checked'}"
        )
    if not files.has(config.kernel):
        raise FirmwareError(f"has no {config.kernel}")
    for note in config.notes:
        log(f"{text}: {note}")
    log(f"boot from partition {number}: {config.kernel}, {config.initramfs or 'no initramfs'}, {config.command_line}")
    return Choice(number, trial, files, config, signed)


def _read_config(volume: Volume, name: str, partition: int, *, trial: bool) -> Config:
    if volume.has(name):
        return parse_config(volume.read(name), partition=partition, tryboot=trial)
    if name != "config.txt":
        raise FirmwareError(f"has no {name} (tryboot_a_b is not set)")
    return DEFAULT


def _open_ramdisk(volume: Volume, stem: str, key: RSAPublicKey | None) -> tuple[Volume, bool]:
    image, proof = f"{stem}.img", f"{stem}.sig"
    if not volume.has(image):
        raise FirmwareError(f"has no {image}")
    if key is not None:
        if not volume.has(proof):
            raise FirmwareError(f"has no {proof}")
        try:
            signature.verify(volume.read(image), volume.read(proof), key)
        except FirmwareError as error:
            raise FirmwareError(f"is not trusted: {error.message}") from error
    return volume.inside(image), key is not None
