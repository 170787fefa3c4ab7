"""The table of platforms: sound in itself, refusing wrong options, and told in the docs as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from hatfleet.image.platforms import PLATFORMS, Platform
from hatfleet.image.platforms.options import NoOptions, Rpi4DebianOptions, Rpi5Options
from tests.unit import platform_tables

ROOT = Path(__file__).resolve().parents[2]
RPI5, RPI4 = PLATFORMS["rpi5"], PLATFORMS["rpi4-debian"]

every_platform = pytest.mark.parametrize("platform", PLATFORMS.values(), ids=lambda platform: platform.name)


@every_platform
def test_a_choice_belongs_to_an_option_and_every_option_has_one(platform: Platform) -> None:
    chosen = [choice.option for choice in platform.choices]
    assert sorted(chosen) == sorted(set(platform.options.model_fields) - {"config"})


@every_platform
def test_there_is_one_kernel_and_a_line_ends_in_a_known_way(platform: Platform) -> None:
    options = platform.options()
    kernels = [name for name in platform.packages_for(options) if name.startswith("linux-image-")]
    assert kernels == [platform.kernel_package(options)]
    assert all(text.isascii() and "{" not in text for text in platform.arguments_for(options))


@every_platform
def test_a_machine_panics_into_a_reset_and_is_silent_on_its_serial_port_unless_asked(platform: Platform) -> None:
    arguments = platform.arguments_for(platform.options())
    assert "panic=10" in arguments
    consoles = [argument for argument in arguments if argument.startswith("console=")]
    # Without any, the kernel would take the device tree's, which is a serial port.
    assert consoles == (["console=ttyAMA0"] if platform.lab else ["console=tty1"])


def test_the_options_choose_kernel_packages_and_console() -> None:
    quiet, loud = Rpi5Options(), Rpi5Options(kernel="rpi-v8", uart_console=True, wifi=True, bluetooth=True)
    assert RPI5.packages_for(quiet) == ("raspi-utils", "linux-image-rpi-2712")
    assert RPI5.packages_for(loud) == ("raspi-utils", "linux-image-rpi-v8", "firmware-brcm80211", "bluez-firmware")
    assert RPI5.arguments_for(loud) == (*RPI5.arguments_for(quiet), "console=ttyAMA10,115200")
    assert RPI4.arguments_for(Rpi4DebianOptions(uart_console=True))[-1] == "console=ttyS1,115200"


def test_systemd_feeds_the_watchdog_that_the_options_ask_for() -> None:
    (file,) = RPI5.files_for(Rpi5Options(watchdog_s=90))
    assert file.content == "[Manager]\nRuntimeWatchdogSec=90\n"
    assert RPI4.files_for(Rpi4DebianOptions(watchdog_s=0)) == ()


def test_a_watchdog_that_nobody_takes_over_is_refused() -> None:
    with pytest.raises(ValidationError, match="nobody takes the watchdog over"):
        Rpi5Options(watchdog_s=0)
    Rpi5Options(watchdog_s=0, watchdog_boot_s=0)


@pytest.mark.parametrize("line", ["dtparam=spi=on", "dtoverlay=tpm-slb9670", "arm_boost=1", "gpio=22=op,dh"])
def test_lines_of_config_txt_are_taken_as_they_are(line: str) -> None:
    assert Rpi5Options(config=[line]).config_lines == (line,)


@pytest.mark.parametrize(
    "line",
    ["", "[all]", "[pi5]", "a=b\nkernel=x", "# note", "=x", "Kernel=x", " a=b", "a=b ", "a=é", "a=" + "x" * 97],
)
def test_what_is_no_line_of_config_txt_is_refused(line: str) -> None:
    with pytest.raises(ValidationError, match="a line of config"):
        Rpi5Options(config=[line])


@pytest.mark.parametrize("line", ["kernel=x", "initramfs x followkernel", "cmdline=x", "include x", "boot_ramdisk=0"])
def test_lines_that_would_boot_something_else_are_refused(line: str) -> None:
    with pytest.raises(ValidationError, match="the image sets"):
        Rpi5Options(config=[line])


def test_options_of_another_platform_are_a_mistake_in_the_code() -> None:
    with pytest.raises(TypeError, match="rpi5 takes Rpi5Options, not NoOptions"):
        RPI5.packages_for(NoOptions())


@pytest.mark.parametrize("name", ["differences", "options"])
def test_the_docs_tell_the_table_as_it_is(name: str) -> None:
    text = (ROOT / "docs" / "how-to" / "platforms.md").read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    written = text[text.index(begin) + len(begin) : text.index(end)].strip()
    generated = getattr(platform_tables, name)().strip()
    assert written == generated, f"python -m tests.unit.platform_tables prints:\n{generated}"
