"""A target as the engine works on it: what was read stays known until something may have changed it.

All reads that are not known yet go to the target in one command. A batch of operations is one command too, and
brings back, in the same round trip, what has to be read again after it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatfleet.fleet.connectors.base import Ended, OnOutput
from hatfleet.ops.gather import Gathering, Section, new_mark, sections
from hatfleet.ops.reads import Read
from hatfleet.ops.steps import Command, Operation

#: Runs a shell script on the target as root; the second argument is told what it prints, as it comes.
RunScript = Callable[[str, OnOutput], Ended]

#: The same, for a script that reads a file of ours.
SendFile = Callable[[str, Path], Ended]

#: Told of every round trip: what it was for, bytes sent and received, seconds.
Trace = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Outcome:
    """How an operation's commands ended; ``seconds`` are measured on the target."""

    operation: Operation
    error: str
    seconds: float


class Target:
    """One host, through one way to run a script on it.

    Args:
        run_script: Runs a script on the target.
        send_file: Runs a script on the target that reads a file of ours.
        live: Whether it is a running system.
        trace: Told of every round trip.
    """

    def __init__(
        self, run_script: RunScript, send_file: SendFile, *, live: bool, trace: Trace = lambda *_: None
    ) -> None:
        self.live = live
        self._run_script = run_script
        self._send_file = send_file
        self._trace = trace
        self._known: dict[Read, Any] = {}

    def run(self, purpose: str, script: str, on_output: OnOutput = lambda data: None) -> Ended:
        """Run a script and trace it.

        Raises:
            OSError: the target cannot be reached any more.
        """
        start_s = time.monotonic()
        ended = self._run_script(script, on_output)
        received = len(ended.stdout) + len(ended.stderr)
        self._trace(purpose, len(script), received, time.monotonic() - start_s)
        return ended

    def knows(self, read: Read) -> bool:
        """Whether the answer to a read is known."""
        return read in self._known

    def answer(self, read: Read) -> Any:
        """Return the known answer to a read."""
        return self._known[read]

    def gather(self, reads: Iterable[Read], prelude: str = "") -> Ended | None:
        """Make all reads that are not known yet, in one command; nothing is sent when there is none and no prelude.

        Args:
            reads: What to read.
            prelude: A script that runs first; it may end the whole with ``exit``, then nothing is read.

        Returns:
            What the command printed, or None when nothing had to be sent.

        Raises:
            OSError: the target cannot be reached any more.
            OperationError: the answer is not complete.
        """
        gathering = Gathering((read for read in reads if read not in self._known), live=self.live)
        mark = new_mark()
        script = gathering.script(mark)
        if not (script or prelude):
            return None
        ended = self.run("gather", prelude + script)
        said = ended.stderr.decode(errors="replace").strip()
        if not (prelude and ended.status):
            self._known |= gathering.answers(ended.stdout, mark, said)
        return ended

    def change(
        self,
        batch: Sequence[tuple[Operation, Sequence[Command]]],
        afterwards: Iterable[Read],
        report: Callable[[Outcome], None],
        prelude: str = "",
    ) -> Ended:
        """Run the commands of operations in order, up to the first that fails, and read what they may have changed.

        Args:
            batch: Operations, each with its commands.
            afterwards: What will be needed after the batch; of it, what is not known any more is read again in the
                same command.
            report: Told how each operation that was begun ended, as soon as that is known.
            prelude: A script that runs first; when it ends the whole with a non-zero status nothing is reported.

        Returns:
            What the command printed.

        Raises:
            OSError: the target cannot be reached any more.
            OperationError: an answer is not complete.
        """
        mark = new_mark()
        operations = [operation for operation, _ in batch]
        self._forget(operations)
        gathering = Gathering((read for read in afterwards if read not in self._known), live=self.live)
        script = prelude + "".join(_operation_script(mark, n, commands) for n, (_, commands) in enumerate(batch))
        follower = _Follower(mark, operations, report)
        ended = self.run("change", script + gathering.script(mark), follower.take)
        said = ended.stderr.decode(errors="replace").strip()
        if follower.failed or (prelude and ended.status):
            return ended
        if follower.done < len(batch):
            report(Outcome(operations[follower.done], said or "the shell on the target ended", 0.0))
            return ended
        self._known |= gathering.answers(ended.stdout, mark, said)
        return ended

    def upload(self, script: str, file: Path) -> Ended:
        """Run a script that reads a file of ours, and trace it.

        Raises:
            OSError: the target cannot be reached any more, or the file cannot be read.
        """
        start_s = time.monotonic()
        ended = self._send_file(script, file)
        self._trace("upload", file.stat().st_size, len(ended.stdout), time.monotonic() - start_s)
        return ended

    def forget_everything(self) -> None:
        """Take nothing for known any more."""
        self._known.clear()

    def _forget(self, batch: Sequence[Operation]) -> None:
        for read in list(self._known):
            if any(operation.may_change(read) for operation in batch):
                del self._known[read]


def _operation_script(mark: str, number: int, commands: Sequence[Command]) -> str:
    """Return a script that runs an operation's commands and says how it went; a failure ends the whole."""
    lines = ["read -r since _ </proc/uptime"]
    for position, command in enumerate(commands):
        guard = "[ $? -eq 0 ] && " if position else ""
        lines.append(guard + _command_script(mark, command))
    lines += [
        "rc=$?; read -r now _ </proc/uptime",
        f"printf '\\n%s op{number} %s %s %s\\n' {mark} $rc $since $now",
        "[ $rc -eq 0 ] || exit 0",
    ]
    return "\n".join(lines) + "\n"


def _command_script(mark: str, command: Command) -> str:
    if command.stdin is None:
        return f"( {command.script}\n) </dev/null 2>&1"
    # A here-document: the input is in no process list, and base64 keeps it free of the mark.
    feed = base64.encodebytes(command.stdin).decode()
    return f"{{ base64 -d | ( {command.script}\n) 2>&1; }} <<'{mark}'\n{feed}{mark}"


class _Follower:
    """Follows the output of a batch and reports every operation when its part is complete."""

    def __init__(self, mark: str, batch: Sequence[Operation], report: Callable[[Outcome], None]) -> None:
        self.done = 0
        self.failed = False
        self._mark, self._batch, self._report = mark, batch, report
        self._sign = f"\n{mark} ".encode()
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Take what came."""
        self._rest += data
        while self.done < len(self._batch) and not self.failed:
            begin = self._rest.find(self._sign)
            end = self._rest.find(b"\n", begin + 1)
            if min(begin, end) < 0:
                return
            (part,) = sections(self._rest[: end + 1], self._mark)
            self._rest = self._rest[end + 1 :]
            self._end(part)

    def _end(self, part: Section) -> None:
        since, now = part.words
        said = part.output.decode(errors="replace").strip() or "the command failed without a word"
        operation = self._batch[self.done]
        self.done += 1
        self.failed = part.status != 0
        self._report(Outcome(operation, said if self.failed else "", float(now) - float(since)))
