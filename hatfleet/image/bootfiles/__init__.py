"""What lies on the boot partitions: the firmware's settings, the kernel and what the firmware hands to it."""

from __future__ import annotations

from hatfleet.image.bootfiles.collect import BootFile, collect, write_tree
from hatfleet.image.bootfiles.ramdisk import boot_image, boot_sig, load_signing_key
from hatfleet.image.bootfiles.texts import (
    AUTOBOOT_BYTES,
    BOOT_PARTITIONS,
    INITRAMFS_FILE,
    KERNEL_FILE,
    Slot,
    autoboot_txt,
    cmdline,
    cmdline_file,
    config_txt,
    ramdisk_config_txt,
)

__all__ = [
    "AUTOBOOT_BYTES",
    "BOOT_PARTITIONS",
    "INITRAMFS_FILE",
    "KERNEL_FILE",
    "BootFile",
    "Slot",
    "autoboot_txt",
    "boot_image",
    "boot_sig",
    "cmdline",
    "cmdline_file",
    "collect",
    "config_txt",
    "load_signing_key",
    "ramdisk_config_txt",
    "write_tree",
]
