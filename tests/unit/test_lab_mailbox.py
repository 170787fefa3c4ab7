"""How a device arms the tryboot flag: the supervisor's side over a real socket, the device's side as a real script."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet import image
from hatfleet.lab import mailbox
from hatfleet.lab.mailbox import MAX_LINE_BYTES, RebootFlags

SCRIPT = Path(image.__file__).parent / "files" / "vcmailbox"


@pytest.mark.parametrize(
    ("request_line", "answer", "value"),
    [
        (b"get reboot_flags", b"reboot_flags 0", 0),
        (b"set reboot_flags 1", b"reboot_flags 1", 1),
        (b"set reboot_flags 0", b"reboot_flags 0", 0),
        (b"set reboot_flags 2", b"error", 0),
        (b"set reboot_flags", b"error", 0),
        (b"", b"error", 0),
        (b"\xff\0", b"error", 0),
    ],
)
def test_each_request_has_one_answer(request_line: bytes, answer: bytes, value: int) -> None:
    flags = RebootFlags()
    assert flags.answer(request_line).startswith(answer)
    assert flags.value == value


@given(st.binary())
def test_no_request_of_a_device_is_an_error_here(request_line: bytes) -> None:
    assert b"\n" not in RebootFlags().answer(request_line)


def test_the_flag_is_taken_once() -> None:
    flags = RebootFlags(1)
    assert flags.take_tryboot()
    assert not flags.take_tryboot()


def talk(said: bytes) -> tuple[list[bytes], RebootFlags]:
    """Send bytes to a served line; return the answers and the flags after the line was closed."""
    flags = RebootFlags()

    async def run() -> bytes:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await mailbox.serve(reader, writer, flags)
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(said)
            writer.write_eof()
            answers = await reader.read()
            writer.close()
            return answers

    return asyncio.run(run()).splitlines(), flags


def test_requests_are_answered_in_order_until_the_line_is_closed() -> None:
    answers, flags = talk(b"set reboot_flags 1\nget reboot_flags\r\nset reboot_fl")
    assert answers == [b"reboot_flags 1", b"reboot_flags 1"]
    assert flags.value == 1


def test_an_endless_line_is_thrown_away_and_the_next_one_answered() -> None:
    answers, flags = talk(b"x" * 5000 + b"\nset reboot_flags 1\n")
    assert answers[-1] == b"reboot_flags 1"
    assert all(answer.startswith(b"error") for answer in answers[:-1])
    assert flags.value == 1


# --- vcmailbox, the script on the device ---


@pytest.fixture
def port(tmp_path: Path) -> Iterator[tuple[Path, RebootFlags]]:
    """A terminal that answers like the firmware port: what is written is not read back."""
    flags = RebootFlags()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)

    def answer() -> None:
        with os.fdopen(ours, "r+b", buffering=0) as line:
            try:
                while request := line.readline():
                    line.write(flags.answer(request.strip()) + b"\n")
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    yield Path(os.ttyname(theirs)), flags
    os.close(theirs)


def vcmailbox(port: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HATFLEET_FIRMWARE_PORT": str(port)}
    return subprocess.run(
        ["sh", SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_flag_is_armed_and_read_back_with_the_arguments_of_a_board(port: tuple[Path, RebootFlags]) -> None:
    path, flags = port
    done = vcmailbox(path, "0x00038064", "4", "0", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [
        *("0x0000001c", "0x80000000", "0x00038064", "0x00000004", "0x80000004", "0x00000001", "0x00000000")
    ]
    assert flags.value == 1
    assert vcmailbox(path, "0x00030064", "4", "0", "0").stdout.split()[5] == "0x00000001"
    assert vcmailbox(path, "0x00038064", "4", "0", "0").stdout.split()[5] == "0x00000000"
    assert flags.value == 0


@pytest.mark.parametrize("words", [(), ("0x00030081", "4", "0", "0"), ("0x00038064",), ("0x00038064", "4", "0", "2")])
def test_other_tags_and_values_are_refused(port: tuple[Path, RebootFlags], words: tuple[str, ...]) -> None:
    path, flags = port
    done = vcmailbox(path, *words)
    assert done.returncode != 0
    assert done.stderr.startswith("vcmailbox: ")
    assert flags.value == 0


def test_without_the_port_the_script_fails_and_says_so(tmp_path: Path) -> None:
    done = vcmailbox(tmp_path / "missing", "0x00038064", "4", "0", "1")
    assert done.returncode != 0
    assert "there is no firmware port" in done.stderr


def test_a_firmware_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    os.mkfifo(silent)
    keep = os.open(silent, os.O_RDWR)
    try:
        # A FIFO gives the script its own request back, which is no answer.
        done = vcmailbox(silent, "0x00038064", "4", "0", "1")
    finally:
        os.close(keep)
    assert done.returncode != 0
    assert "does not answer" in done.stderr


def test_the_script_is_clean_for_shellcheck() -> None:
    subprocess.run(["shellcheck", SCRIPT], check=True)
