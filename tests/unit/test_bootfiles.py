"""The texts that the firmware reads, byte by byte."""

from __future__ import annotations

import itertools
import textwrap

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image.bootfiles import autoboot_txt, cmdline, cmdline_file, config_txt, ramdisk_config_txt
from hatfleet.image.bootfiles.texts import MAX_CMDLINE_BYTES
from hatfleet.image.platforms import PLATFORMS, Platform
from hatfleet.image.platforms.options import NoOptions, Rpi4DebianOptions, Rpi5Options

RPI5, RPI4, VIRT = PLATFORMS["rpi5"], PLATFORMS["rpi4-debian"], PLATFORMS["virt"]


def text(written: str) -> bytes:
    return textwrap.dedent(written).lstrip().encode()


def test_autoboot_names_both_slots_and_is_one_sector() -> None:
    first = autoboot_txt()
    assert first.rstrip(b"\n") == b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3"
    assert len(first) == 512
    assert set(first[len(first.rstrip(b"\n")) :]) == {ord("\n")}


def test_a_commit_changes_two_bytes_of_autoboot_and_no_length() -> None:
    before, after = autoboot_txt(2, 3), autoboot_txt(3, 2)
    assert len(before) == len(after)
    assert [(one, two) for one, two in zip(before, after, strict=True) if one != two] == [(50, 51), (51, 50)]


@pytest.mark.parametrize("pair", [(2, 2), (1, 2), (3, 4), (0, 3)])
def test_autoboot_refuses_what_is_no_pair_of_slots(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the slots boot from partitions 2 and 3"):
        autoboot_txt(*pair)


def test_config_of_virt_only_names_the_files() -> None:
    assert config_txt(VIRT, NoOptions()) == text("""
        # Made with the image. Both slots have the same file.
        kernel=vmlinuz
        initramfs initrd.img followkernel
        # The command line names the slot.
        [boot_partition=2]
        cmdline=cmdline-a.txt
        [boot_partition=3]
        cmdline=cmdline-b.txt
        [all]
        """)


def test_config_of_rpi5_switches_off_what_nobody_asked_for() -> None:
    assert config_txt(RPI5, Rpi5Options()) == text("""
        # Made with the image. Both slots have the same file.
        kernel=vmlinuz
        initramfs initrd.img followkernel
        # The PCI Express connector of the HAT, and its speed.
        dtparam=pciex1
        dtparam=pciex1_gen=3
        # A kernel that hangs is reset; systemd takes the watchdog over.
        dtparam=watchdog=on
        kernel_watchdog_timeout=300
        # The serial port of the debug connector.
        enable_uart=0
        # No wireless network.
        dtoverlay=disable-wifi-pi5
        # No Bluetooth.
        dtoverlay=disable-bt-pi5
        # The command line names the slot.
        [boot_partition=2]
        cmdline=cmdline-a.txt
        [boot_partition=3]
        cmdline=cmdline-b.txt
        [all]
        """)


def test_config_of_rpi5_with_everything_on() -> None:
    options = Rpi5Options(
        kernel="rpi-v8",
        pcie_gen=2,
        watchdog_s=0,
        watchdog_boot_s=0,
        uart_console=True,
        audio=True,
        bluetooth=True,
        wifi=True,
        config=["dtparam=spi=on", "dtoverlay=tpm-slb9670"],
    )
    assert config_txt(RPI5, options, signed=True) == text("""
        # Made with the image. Both slots have the same file.
        kernel=vmlinuz
        initramfs initrd.img followkernel
        # The PCI Express connector of the HAT, and its speed.
        dtparam=pciex1
        dtparam=pciex1_gen=2
        # The serial port of the debug connector.
        enable_uart=1
        # Sound over HDMI.
        dtparam=audio=on
        dtoverlay=vc4-kms-v3d-pi5
        # The device key stays out of the system's reach.
        lock_device_private_key=1
        # From the recipe.
        dtparam=spi=on
        dtoverlay=tpm-slb9670
        # The command line names the slot.
        [boot_partition=2]
        cmdline=cmdline-a.txt
        [boot_partition=3]
        cmdline=cmdline-b.txt
        [all]
        """)


def test_config_of_rpi4_debian_has_no_filter_that_its_firmware_does_not_know() -> None:
    assert config_txt(RPI4, Rpi4DebianOptions()) == text("""
        # Made with the image. Both slots have the same file.
        kernel=vmlinuz
        initramfs initrd.img followkernel
        # Debian's kernel and device trees in place of Raspberry Pi's, 64 bits wide.
        arm_64bit=1
        upstream_kernel=1
        # The serial port of the GPIO header.
        enable_uart=0
        """)


def test_config_beside_a_signed_image_only_points_to_it() -> None:
    lines = [line for line in ramdisk_config_txt().splitlines() if not line.startswith(b"#")]
    assert lines == [b"boot_ramdisk=1"]


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)
def test_every_comment_stands_above_a_line_it_explains(platform: Platform) -> None:
    lines = config_txt(platform, platform.options()).decode().splitlines()[1:]
    for here, after in itertools.pairwise(lines):
        assert not (here.startswith("#") and after.startswith("#")), here


def test_command_lines_differ_in_the_slot_alone() -> None:
    arguments = [*RPI5.arguments_for(Rpi5Options()), "root=/dev/mapper/root"]
    first, second = cmdline(RPI5, arguments, "a"), cmdline(RPI5, arguments, "b")
    assert first == (
        b"console=tty1 cgroup_enable=memory lsm=apparmor panic=10 watchdog_disarm=0 root=/dev/mapper/root "
        b"hatfleet.slot=a\n"
    )
    assert second == first.replace(b"slot=a", b"slot=b")
    assert (cmdline_file(RPI5, "a"), cmdline_file(RPI5, "b")) == ("cmdline-a.txt", "cmdline-b.txt")


def test_without_the_filter_both_slots_have_one_command_line_that_asks_the_firmware() -> None:
    assert cmdline_file(RPI4, "a") == cmdline_file(RPI4, "b") == "cmdline.txt"
    assert cmdline(RPI4, ["quiet"], "a") == cmdline(RPI4, ["quiet"], "b") == b"quiet hatfleet.slot=firmware\n"


@pytest.mark.parametrize("argument", ["", "two words", "line\nbreak", "naïve", "tab\t", "hatfleet.slot=b"])
def test_an_argument_that_would_be_read_otherwise_is_refused(argument: str) -> None:
    with pytest.raises(HatfleetError):
        cmdline(VIRT, ["quiet", argument], "a")


def test_a_command_line_that_the_kernel_would_cut_is_refused() -> None:
    room = MAX_CMDLINE_BYTES - len("hatfleet.slot=a") - 1
    assert len(cmdline(VIRT, ["x" * room], "a")) == MAX_CMDLINE_BYTES + 1
    with pytest.raises(HatfleetError, match="has 1536 characters; 1535 leave room"):
        cmdline(VIRT, ["x" * (room + 1)], "a")
