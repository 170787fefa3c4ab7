"""Raspberry Pi 4 with nothing but Debian's packages: its kernel, and the boards' firmware from non-free-firmware."""

from __future__ import annotations

from datetime import date

from hatfleet.image.platforms.model import BootSource, Choice, Effect, Platform
from hatfleet.image.platforms.options import Rpi4DebianOptions
from hatfleet.image.platforms.raspberrypi import WATCHDOG_FILE

_FIRMWARE = "usr/lib/raspi-firmware"

RPI4_DEBIAN = Platform(
    name="rpi4-debian",
    title="Raspberry Pi 4 with Debian's kernel",
    arch="arm64",
    packages=("linux-image-arm64", "raspi-firmware"),
    # Without a console= the kernel takes the device tree's, which is the serial port.
    kernel_arguments=("console=tty1", "panic=10"),
    initramfs_modules=(
        # The card slot: controller, and the regulators of its supply and of its signal level.
        *("fixed", "gpio_regulator", "sdhci_iproc"),
        # USB disks: the controller behind PCI Express is started by the board's firmware.
        *("reset_raspberrypi", "xhci_pci", "sd_mod", "uas", "usb_storage"),
        "bcm2835_wdt",
    ),
    lab=False,
    boot_devices=("mmcblk0", "mmcblk1", "sda"),
    imager_tags=("pi4-64bit",),
    options=Rpi4DebianOptions,
    choices=(
        Choice("watchdog_s", "A system that hangs is reset.", on=Effect(files=(WATCHDOG_FILE,))),
        Choice(
            "uart_console",
            "The serial port of the GPIO header.",
            # The port's clock is the video processor's: Debian's /etc/default/raspi-firmware says which frequency
            # of the three does not garble it.
            on=Effect(config=("enable_uart=1", "core_freq=360"), arguments=("console=ttyS1,115200",)),
            off=Effect(config=("enable_uart=0",)),
        ),
        # Without its firmware the radio does not start.
        Choice("wifi", "Wireless network.", on=Effect(packages=("firmware-brcm80211",))),
    ),
    debian_components=("main", "non-free-firmware"),
    boot_sources=(
        # bootcode.bin and start.elf are for older boards; the variants _cd, _db and _x are for settings we do not make.
        BootSource(_FIRMWARE, "start4.elf", "raspi-firmware", required=("start4.elf",)),
        BootSource(_FIRMWARE, "fixup4.dat", "raspi-firmware", required=("fixup4.dat",)),
        BootSource(
            "usr/lib/linux-image-{kernel}/broadcom",
            "bcm2711-rpi-*.dtb",
            "linux-image-{kernel}",
            required=("bcm2711-rpi-4-b.dtb",),
        ),
        BootSource(f"{_FIRMWARE}/overlays", "*.dtbo", "raspi-firmware", required=(), target="overlays"),
    ),
    config=(
        "# Debian's kernel and device trees in place of Raspberry Pi's, 64 bits wide.",
        "arm_64bit=1",
        "upstream_kernel=1",
    ),
    # Debian 13 has the firmware of 2024-04-24; start4.elf knows the filter since March 2025.
    slot_filter=False,
    # rpi-eeprom, firmware-2711/release-notes.md: [tryboot] and tryboot_a_b, in the default release of 2022-11-25.
    minimum_eeprom=date(2022, 11, 25),
)
