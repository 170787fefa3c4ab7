"""Raspberry Pi 5 with kernel and tools from Raspberry Pi's archive."""

from __future__ import annotations

from datetime import date

from hatfleet.image.platforms.model import Archive, BootSource, Choice, Effect, Platform
from hatfleet.image.platforms.options import Rpi5Options
from hatfleet.image.platforms.raspberrypi import WATCHDOG_FILE

RASPBERRY_PI = Archive(
    name="Raspberry Pi",
    components=("main",),
    # "Raspberry Pi Archive Signing Key", RSA 2048, 2012, as the keyrings in Raspberry Pi's own image builders
    # (pi-gen, rpi-image-gen) hold it.
    fingerprints=("CF8A1AF502A2AA2D763BAE7E82B129927FA3303E",),
    uri_variable="HATFLEET_RPI_ARCHIVE",
    keyring_variable="HATFLEET_RPI_KEYRING",
    documented_in="/etc/apt/sources.list.d/raspi.sources of Raspberry Pi OS (its lines URIs and Signed-By)",
)

_DEVICE_TREES = "usr/lib/linux-image-{kernel}"

RPI5 = Platform(
    name="rpi5",
    title="Raspberry Pi 5",
    arch="arm64",
    # vcgencmd tells of throttling, vcmailbox asks the firmware for a trial boot.
    packages=("raspi-utils",),
    kernel_arguments=(
        # Without a console= the kernel takes the device tree's, which is the serial port.
        "console=tty1",
        # The device tree switches the memory controller off, and systemd would pass over every MemoryMax=.
        "cgroup_enable=memory",
        # The kernel has AppArmor, but is built to start without any security module (CONFIG_LSM="").
        "lsm=apparmor",
        "panic=10",
        # Raspberry Pi OS's own early scripts would switch the firmware's watchdog off.
        "watchdog_disarm=0",
    ),
    # MMC and NVMe are built in. The watchdog is taken over from the firmware before it runs out.
    initramfs_modules=("bcm2835_wdt",),
    lab=False,
    boot_devices=("mmcblk0", "nvme0n1"),
    imager_tags=("pi5-64bit",),
    options=Rpi5Options,
    choices=(
        Choice("kernel", "The kernel.", on=Effect(packages=("linux-image-{value}",))),
        Choice(
            "pcie_gen",
            "The PCI Express connector of the HAT, and its speed.",
            on=Effect(config=("dtparam=pciex1", "dtparam=pciex1_gen={value}")),
        ),
        Choice(
            "watchdog_boot_s",
            "A kernel that hangs is reset; systemd takes the watchdog over.",
            on=Effect(config=("dtparam=watchdog=on", "kernel_watchdog_timeout={value}")),
        ),
        Choice("watchdog_s", "A system that hangs is reset.", on=Effect(files=(WATCHDOG_FILE,))),
        Choice(
            "uart_console",
            "The serial port of the debug connector.",
            on=Effect(config=("enable_uart=1",), arguments=("console=ttyAMA10,115200",)),
            off=Effect(config=("enable_uart=0",)),
        ),
        Choice(
            "wifi",
            "No wireless network.",
            on=Effect(packages=("firmware-brcm80211",)),
            off=Effect(config=("dtoverlay=disable-wifi-pi5",)),
        ),
        Choice(
            "bluetooth",
            "No Bluetooth.",
            on=Effect(packages=("bluez-firmware",)),
            off=Effect(config=("dtoverlay=disable-bt-pi5",)),
        ),
        Choice(
            "audio",
            "Sound over HDMI.",
            on=Effect(config=("dtparam=audio=on", "dtoverlay=vc4-kms-v3d-pi5")),
        ),
    ),
    archives=(RASPBERRY_PI,),
    debian_components=("main", "non-free-firmware"),
    boot_sources=(
        # Boards of the later silicon (stepping D0: 2 GB and 16 GB) ask for the device trees with -d or d0.
        BootSource(
            f"{_DEVICE_TREES}/broadcom",
            "bcm2712*-rpi-5-b.dtb",
            "linux-image-{kernel}",
            required=("bcm2712-rpi-5-b.dtb",),
        ),
        # All of them: a HAT names the overlay it needs in its EEPROM, and the firmware adds what the later silicon
        # needs by itself.
        BootSource(
            f"{_DEVICE_TREES}/overlays",
            "*.dtb*",
            "linux-image-{kernel}",
            required=("bcm2712d0.dtbo", "disable-bt-pi5.dtbo", "disable-wifi-pi5.dtbo"),
            target="overlays",
        ),
    ),
    # rpi-eeprom, firmware-2712/release-notes.md: the filter [boot_partition=N] came on 2025-03-10, early-watchdog on
    # 2025-07-17, PARTITION_WALK as the default on 2025-08-13, and for boot.img on 2026-02-23.
    minimum_eeprom=date(2025, 8, 13),
    minimum_eeprom_signed=date(2026, 2, 23),
)
