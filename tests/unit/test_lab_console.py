from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.lab.console import MAX_LINE_BYTES, ConsoleReader, clean, fatal_reason, host_key
from tests.unit.lab_tiny import key_line, some_key


@pytest.mark.parametrize(
    "line",
    [
        key_line(),
        f"[    5.1] {key_line()}",
        f"{key_line()} root@edge",
        f"[  OK  ] something {key_line()}",
    ],
)
def test_host_key_is_found_wherever_it_stands_in_a_line(line: str) -> None:
    assert host_key(line) == f"ssh-ed25519 {some_key()}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hatfleet-hostkey: ",
        key_line()[:-1],
        key_line() + "A",
        key_line() + "==",
        key_line().replace("ssh-ed25519", "ssh-rsa"),
        key_line().replace("AAAAC3Nz", "AAAAB3Nz"),
        key_line()[:60] + "[   12.3] usb 1-1: new device" + key_line()[60:],
        key_line().replace("hatfleet-hostkey: ", "hatfleet-hostkey:"),
        f"ssh-ed25519 {some_key()}",
    ],
)
def test_anything_but_a_whole_well_formed_key_is_no_key(line: str) -> None:
    assert host_key(line) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs", "the kernel panicked"),
        ("You are in emergency mode. After logging in, type", "emergency mode"),
        ("[  OK  ] Reached target emergency.target - Emergency Mode.", "emergency mode"),
        ("ALERT!  PARTUUID=0 does not exist.  Dropping to a shell!", "the initramfs gave up"),
    ],
)
def test_a_boot_that_cannot_succeed_is_recognised(line: str, reason: str) -> None:
    assert reason in (fatal_reason(line) or "")


@pytest.mark.parametrize(
    "line",
    [
        "[    0.0] Kernel command line: panic=10 console=ttyAMA0",
        "systemd[1]: Reached target multi-user.target - Multi-User System.",
        "kernel.panic = 10",
    ],
)
def test_ordinary_lines_are_not_fatal(line: str) -> None:
    assert fatal_reason(line) is None


def test_reader_returns_a_line_only_when_it_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    reader = ConsoleReader(log)
    assert reader.lines() == []
    line = key_line()
    with log.open("ab", buffering=0) as console:
        console.write(b"first\r\n" + line[:40].encode())
        assert reader.lines() == ["first"]
        console.write(line[40:].encode())
        assert reader.lines() == []
        console.write(b"\r\n")
        assert reader.lines() == [line]
        assert reader.lines() == []


def test_reader_at_end_does_not_see_an_earlier_boot(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("Kernel panic - not syncing: old\n")
    reader = ConsoleReader.at_end(log)
    assert reader.lines() == []
    with log.open("a") as console:
        console.write("new\n")
    assert reader.lines() == ["new"]


def test_an_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    reader = ConsoleReader(log)
    for _ in range(5):
        with log.open("ab") as console:
            console.write(b"x" * MAX_LINE_BYTES)
        assert reader.lines() == []
        assert len(reader._partial) <= MAX_LINE_BYTES
    with log.open("ab") as console:
        console.write(f"\n{key_line()}\n".encode())
    lines = reader.lines()
    assert len(lines[0]) <= MAX_LINE_BYTES
    assert host_key(lines[1])


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    hostile = "\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J\x1bc \x9b31m\x08\x00tab\tok\x1b]3008;id=x\x1b\\!"
    assert clean(hostile) == "red 31mtab\tok!"


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read_and_come_out_harmless(data: bytes) -> None:
    text = clean(data.decode(errors="replace"))
    assert not set(text) & {"\x1b", "\x07", "\x08", "\r", "\x9b", "\x00"}
    host_key(text)
    fatal_reason(text)
