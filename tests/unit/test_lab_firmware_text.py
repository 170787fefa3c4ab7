"""The text files of the boot partitions: filters, autoboot.txt, config.txt, the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.lab.firmware.autoboot import parse_autoboot
from hatfleet.lab.firmware.config import parse_command_line, parse_config
from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.filters import Filters, lines_that_count
from tests.unit.lab_disks import CONFIG, autoboot


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("x", True),
        ("[all]\nx", True),
        ("[none]\nx", False),
        ("[none]\n[all]\nx", True),
        ("[none]\n[pi5]\nx", False),
        ("[pi5]\nx", True),
        ("[pi4]\nx", False),
        ("[cm5]\nx", False),
        ("[pi4]\n[pi5]\nx", True),
        ("[pi5]\n[pi4]\nx", False),
        ("[tryboot]\nx", True),
        ("[boot_partition=2]\nx", True),
        ("[boot_partition=3]\nx", False),
        ("[boot_partition=3]\n[boot_partition=2]\nx", True),
        ("[boot_partition=3]\n[tryboot]\nx", False),
        ("[boot_partition=2]\n[pi5]\n[tryboot]\nx", True),
        ("[boot_partition=2]\n[pi4]\nx", False),
        ("[boot_count>1]\nx", False),
        ("[boot_count>1]\n[boot_partition=2]\nx", True),
        ("[gpio4=1]\nx", False),
        ("[gpio4=1]\n[pi5]\nx", False),
        ("[EDID=VSC-TD2220]\n[all]\nx", True),
        ("#x\n  \n", False),
        ("  x \r\n", True),
    ],
)
def test_a_line_counts_when_its_filters_hold(text: str, *, counts: bool) -> None:
    found = list(lines_that_count(text.encode(), Filters(tryboot=True, partition=2)))
    assert found == (["x"] if counts else [])


def test_filters_that_the_lab_cannot_know_are_named() -> None:
    filters = Filters(tryboot=False, partition=2)
    assert list(lines_that_count(b"[gpio4=1]\na\n[boot_arg1=3]\nb\n", filters)) == []
    assert filters.ignored == ["[gpio4=1]", "[boot_arg1=3]"]


# --- autoboot.txt ---


@pytest.mark.parametrize(("tryboot", "partition"), [(False, 2), (True, 3)])
def test_the_trial_has_a_partition_of_its_own(*, tryboot: bool, partition: int) -> None:
    found = parse_autoboot(autoboot(2, 3), tryboot=tryboot)
    assert (found.boot_partition, found.tryboot_a_b, found.problem) == (partition, True, None)


@pytest.mark.parametrize(
    ("content", "partition", "problem"),
    [
        (b"", None, "names no boot_partition"),
        (b"boot_partition=\n", None, "names no boot_partition"),
        (b"boot_partition=two\n", None, "'two', no number"),
        (b"boot_partition=0\n", None, None),
        (b"boot_partition=2\nboot_partition=3\n", 3, None),
        (b"boot_partition=2", 2, None),
        (b"[none]\nboot_partition=2\n", None, "names no"),
        (b"boot_partition=2\n[pi4]\nboot_partition=3\n", 2, None),
        (b"boot_partition=2\n[boot_count>3]\nboot_partition=3\n", 2, "do not work there"),
        (autoboot() + b"\n", None, "513 bytes"),
        (bytes(512), None, "names no"),
        (b"\xff" * 512, None, "names no"),
    ],
)
def test_what_an_autoboot_txt_says_and_what_is_wrong_with_it(
    content: bytes, partition: int | None, problem: str | None
) -> None:
    found = parse_autoboot(content, tryboot=False)
    assert found.boot_partition == partition
    assert (found.problem is None) == (problem is None)
    assert (problem or "") in (found.problem or "")


@given(content=st.binary(max_size=600), tryboot=st.booleans())
def test_rubbish_is_never_an_error(content: bytes, *, tryboot: bool) -> None:
    parse_autoboot(content, tryboot=tryboot)
    parse_config(content, partition=2, tryboot=tryboot)


# --- config.txt ---


@pytest.mark.parametrize(("partition", "name"), [(2, "cmdline-a.txt"), (3, "cmdline-b.txt"), (1, "cmdline.txt")])
def test_the_partition_picks_the_command_line(partition: int, name: str) -> None:
    config = parse_config(CONFIG, partition=partition, tryboot=False)
    assert (config.kernel, config.initramfs, config.command_line) == ("vmlinuz", "initrd.img", name)
    assert not config.boot_ramdisk
    assert config.notes == ()


def test_an_empty_config_names_the_default_kernel_and_no_initramfs() -> None:
    config = parse_config(b"", partition=2, tryboot=False)
    assert (config.kernel, config.initramfs, config.command_line) == ("vmlinuz", None, "cmdline.txt")


def test_the_prefix_stands_before_every_name_wherever_it_is_set() -> None:
    config = parse_config(b"kernel=k\ninitramfs i 0x2000\nos_prefix=new/\n", partition=2, tryboot=False)
    assert (config.kernel, config.initramfs, config.command_line) == ("new/k", "new/i", "new/cmdline.txt")


def test_boot_ramdisk_is_read_and_counts_only_as_one() -> None:
    assert parse_config(b"boot_ramdisk=1\n", partition=2, tryboot=False).boot_ramdisk
    assert not parse_config(b"boot_ramdisk=0\n", partition=2, tryboot=False).boot_ramdisk


@pytest.mark.parametrize(
    ("line", "note"),
    [("kernel=" + "k" * 100, "98"), ("include more.txt", "not simulated"), ("[gpio4=1]", "does not hold")],
)
def test_what_a_board_would_do_otherwise_is_noted(line: str, note: str) -> None:
    config = parse_config(f"{line}\n".encode(), partition=2, tryboot=False)
    assert note in " ".join(config.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"one\ntwo\n", "several lines"),
        (b"a\0b", "several lines"),
        ("caf\u00e9".encode(), "ASCII"),
        (b"x" * 2048, "2048 characters"),
    ],
)
def test_bad_command_lines_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        parse_command_line(content)
