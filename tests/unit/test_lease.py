"""The lease, as shells on this machine: whoever works holds it, whoever is gone does not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatfleet.fleet.engine.lease import HELD, Lease, LeaseHeld


class Shell:
    """A shell that stays open, as on a device."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["/bin/sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def take(self, lease: Lease) -> tuple[int, str]:
        """Run the lease's script; return its status and the first line it printed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"( {lease.script}\n)\necho rc $?\n")
        self.process.stdin.flush()
        lines = []
        while not (line := self.process.stdout.readline()).startswith("rc "):
            assert line, "the shell ended"
            lines.append(line)
        return int(line.split()[1]), "".join(lines)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def shells() -> Iterator[tuple[Shell, Shell]]:
    pair = Shell(), Shell()
    yield pair
    for shell in pair:
        shell.end()


def lease(tmp_path: Path, holder: str, seconds: float = 100) -> Lease:
    return Lease(holder, seconds, file=str(tmp_path / "run" / "lease"))


def test_only_one_operator_gets_it_and_the_other_learns_who_has_it(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    assert shells[0].take(lease(tmp_path, "anna@admin-1", 600)) == (0, "")
    status, output = shells[1].take(lease(tmp_path, "ben@admin-2"))
    assert status == HELD
    with pytest.raises(LeaseHeld, match=r"anna@admin-1 is changing this device.*at the latest 10 min"):
        Lease.check(status, output.encode())


def test_its_holder_may_take_it_again(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    mine = lease(tmp_path, "anna")
    assert shells[0].take(mine)[0] == 0
    assert shells[0].take(mine)[0] == 0


def test_it_ends_with_the_shell_of_its_holder(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    assert shells[0].take(lease(tmp_path, "anna"))[0] == 0
    shells[0].end()
    assert shells[1].take(lease(tmp_path, "ben"))[0] == 0


def test_a_silent_holder_loses_it_when_its_time_is_over(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    assert shells[0].take(lease(tmp_path, "anna", seconds=0))[0] == 0
    assert shells[1].take(lease(tmp_path, "ben"))[0] == 0
    status, output = shells[0].take(lease(tmp_path, "anna"))
    assert (status, "ben" in output) == (HELD, True)


def test_a_later_process_with_the_same_number_is_not_its_holder(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    assert shells[0].take(lease(tmp_path, "anna"))[0] == 0
    file = tmp_path / "run" / "lease"
    until, pid, _, rest = file.read_text().split(" ", 3)
    file.write_text(f"{until} {pid} 1 {rest}")
    assert shells[1].take(lease(tmp_path, "ben"))[0] == 0


@pytest.mark.parametrize("content", ["", "nonsense\n", "1 2\n", "a b c d e\n"])
def test_a_damaged_lease_is_free(tmp_path: Path, shells: tuple[Shell, Shell], content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lease").write_text(content)
    assert shells[0].take(lease(tmp_path, "anna"))[0] == 0


def test_a_holder_cannot_smuggle_commands_in(tmp_path: Path, shells: tuple[Shell, Shell]) -> None:
    name = f"$(touch {tmp_path}/pwned) `touch {tmp_path}/pwned`\nsecond 'line'"
    assert shells[0].take(lease(tmp_path, name))[0] == 0
    _, output = shells[1].take(lease(tmp_path, "ben"))
    assert "$(touch" in output and "second 'line'" in output
    assert not (tmp_path / "pwned").exists()


def test_of_many_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    many = [Shell() for _ in range(8)]
    try:
        for number, shell in enumerate(many):
            assert shell.process.stdin is not None
            shell.process.stdin.write(f"( {lease(tmp_path, str(number)).script}\n) >/dev/null\necho rc $?\n")
            shell.process.stdin.flush()
        results = [shell.process.stdout.readline() for shell in many if shell.process.stdout is not None]
        assert sorted(results) == ["rc 0\n", *[f"rc {HELD}\n"] * 7]
    finally:
        for shell in many:
            shell.end()
