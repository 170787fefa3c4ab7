"""One host's way through a run: declare, compare, change, report. What goes wrong here stays with this host."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.engine.compare import compare
from hatfleet.fleet.engine.declare import Declared
from hatfleet.fleet.engine.followups import note_before, strike_off
from hatfleet.fleet.engine.lease import Lease
from hatfleet.fleet.engine.target import Outcome, Target
from hatfleet.fleet.job import HostJob, Mode
from hatfleet.fleet.results import (
    Change,
    Event,
    HostFinished,
    HostState,
    OpFinished,
    OpResult,
    OpStarted,
    Prepared,
    Status,
)
from hatfleet.fleet.roles import Half
from hatfleet.ops.reads import FOLLOW_UPS_FILE, ShellRead
from hatfleet.ops.steps import Call, Command, Effects, Operation, OperationError, Reboot, Steps, Upload

Emit = Callable[[Event], None]

#: Restarts the device and returns when it is back and the connection stands again.
Restart = Callable[[float], None]

#: The options of the root file system: "ro" is a device booted from our read-only image.
_ROOT_OPTIONS = ShellRead("findmnt -n -o OPTIONS /")


def _ask_root_options() -> Steps:
    yield _ROOT_OPTIONS


@dataclass
class HostRun:
    """One host's run.

    Args:
        job: What is to be done.
        mode: Only compare, or change.
        emit: Told what happens.
        lease: What keeps other operators away while the host is changed.
        restart: How the device is restarted.
    """

    job: HostJob
    mode: Mode
    emit: Emit
    lease: Lease | None = None
    restart: Restart | None = None
    target: Target = field(init=False)
    """Where; known when the host is connected."""
    declared: list[Declared] = field(default_factory=list)
    sealed: bool = False
    changed: bool = False
    """Whether something was changed on the host in this run."""
    state: HostState = HostState.OK
    error: str = ""
    _started_s: float = field(default_factory=time.monotonic)
    _finished: bool = False
    _running: Declared | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be done on this host."""
        return self.state in (HostState.FAILED, HostState.UNREACHABLE, HostState.LOCKED)

    def fail(self, state: HostState, error: str) -> None:
        """Stop for this host, and for this host only; an operation that was running failed with it."""
        self.state, self.error = state, error
        running, self._running = self._running, None
        if running is not None:
            self.error = f"{running.role}: {running.operation.name}: {error}"
            self._report(running, Status.FAILED, error=error)

    def finish(self) -> None:
        """Say how the host ended, once."""
        if not self._finished:
            self._finished = True
            seconds = time.monotonic() - self._started_s
            self.emit(HostFinished(host=self.job.name, state=self.state, error=self.error, seconds=seconds))

    def compare(self) -> None:
        """Read the host's state and compare every operation with it; for a change, with the lease in hand.

        Raises:
            LeaseHeld: somebody else is changing this host.
            OperationError: an operation cannot be done here.
            OSError: the target cannot be reached any more.
        """
        lease = self.lease if self.mode is Mode.APPLY else None
        operations = [one.operation for one in self.declared]
        if self.target.live:
            operations.append(Operation("sealed", "sealed", {}, _ask_root_options, Effects(())))
        ended = compare(self.target, operations, lease.script if lease else "")
        if lease and ended is not None and ended.status:
            lease.check(ended.status, ended.stdout)
            raise OperationError(f"no lease on this device: {ended.stderr.decode(errors='replace').strip()}")
        if self.target.live:
            self.sealed = "ro" in ",".join(self.target.answer(_ROOT_OPTIONS)).split(",")

    def report_plan(self) -> None:
        """Report what every operation would change."""
        for one in self.declared:
            self._report(one, self._predicted(one))

    def execute(self) -> None:
        """Change what differs, in the declared order, as many operations in one command as the order allows.

        Raises:
            OperationError: an operation cannot be done here.
            OSError: the target cannot be reached any more.
        """
        queue = list(self.declared)
        todo = any(self._to_change(one) for one in queue)
        self.emit(Prepared(host=self.job.name, operations=len(queue) if todo else 0))
        while queue and not self.ended:
            batch = self._next_batch(queue)
            if batch:
                self._change(batch, queue)

    def _next_batch(self, queue: list[Declared]) -> list[Declared]:
        """Take from the queue what can be decided now: report what does not change, return what does.

        An operation whose reads may be changed by one before it in the batch waits for the next batch.
        """
        batch: list[Declared] = []
        while queue:
            operation = queue[0].operation
            if any(one.operation.may_change(read) for one in batch for read in operation.reads):
                break
            if operation.triggers:
                compare(self.target, [operation])
            alone = any(not isinstance(action, Command) for action in operation.actions)
            if alone and batch:
                break
            one = queue.pop(0)
            if self._to_change(one):
                batch.append(one)
            else:
                self._report(one, self._predicted(one))
            if alone:
                break
        return batch

    def _change(self, batch: list[Declared], queue: list[Declared]) -> None:
        rest = [one.operation for one in queue]
        operations = [one.operation for one in batch]
        self.changed = True
        waiting = deque(batch)
        self._start(waiting[0])

        def report(outcome: Outcome) -> None:
            self._report_outcome(waiting.popleft(), outcome)
            if waiting and not self.ended:
                self._start(waiting[0])

        if all(isinstance(action, Command) for action in operations[0].actions):
            reads = [read for operation in rest for read in operation.reads]
            commands = [(operation, self._commands(operation)) for operation in operations]
            ended = self.target.change(commands, reads, report, self._prelude)
            if self.lease and ended.status:
                self.lease.check(ended.status, ended.stdout)
        else:
            report(self._act(operations[0]))
        if not self.ended:
            self._compare_again(rest, operations)

    def _commands(self, operation: Operation) -> list[Command]:
        """Return an operation's commands, and around them those that keep the list of what is still to be done."""
        commands = [action for action in operation.actions if isinstance(action, Command)]
        if not self.target.live:
            return commands
        return [*self._note(operation), *commands, *self._strike_off(operation)]

    def _note(self, operation: Operation) -> list[Command]:
        return note_before(operation, [one.operation for one in self.declared], self._follow_ups_file)

    def _strike_off(self, operation: Operation) -> list[Command]:
        return strike_off(operation, self._follow_ups_file)

    @property
    def _follow_ups_file(self) -> str:
        return self.job.connection.follow_ups_file if self.job.connection else FOLLOW_UPS_FILE

    def _start(self, one: Declared) -> None:
        self._running = one
        self.emit(OpStarted(host=self.job.name, role=one.role, name=one.operation.name))

    def _compare_again(self, rest: list[Operation], done: list[Operation]) -> None:
        """Compare those again whose reads may be others now; a command of its own is needed only for new questions."""
        stale = [
            operation
            for operation in rest
            if operation.triggers or any(one.may_change(read) for one in done for read in operation.reads)
        ]
        for operation in stale:
            operation.settled = False
        compare(self.target, stale)

    def _act(self, operation: Operation) -> Outcome:
        """Do what is not a script, on its own."""
        started_s = time.monotonic()
        error = ""
        changed = False
        try:
            for action in operation.actions:
                if isinstance(action, Call):
                    self._run_quietly(self._note(operation))
                    changed |= action.run()
                elif isinstance(action, Upload):
                    self._run_quietly(self._note(operation))
                    self._upload(action)
                    changed = True
                elif isinstance(action, Reboot) and self.restart is not None:
                    self.restart(action.limit_s)
                    changed = True
                    self._run_quietly(self._strike_off(operation))
        except (HatfleetError, OSError) as failure:
            error = str(failure)
        self.target.forget_everything()
        if not changed:
            operation.actions = []
        return Outcome(operation, error, time.monotonic() - started_s)

    def _upload(self, upload: Upload) -> None:
        ended = self.target.upload(upload.script, upload.source())
        if ended.status:
            said = ended.stderr.decode(errors="replace").strip()
            raise OperationError(said or f"laying it down ended with exit status {ended.status}")

    def _run_quietly(self, commands: list[Command]) -> None:
        for command in commands if self.target.live else ():
            ended = self.target.run("note", command.script)
            if ended.status:
                raise OperationError(ended.stderr.decode(errors="replace").strip())

    @property
    def _prelude(self) -> str:
        """What every changing command begins with: the lease is taken, or renewed."""
        return self.lease.script if self.lease else ""

    def _beyond_reach(self, one: Declared) -> bool:
        """Whether an operation belongs to the read-only image of a sealed device: compared, never forced."""
        return self.sealed and one.half is Half.IMAGE

    def _to_change(self, one: Declared) -> bool:
        return one.operation.changed and not self._beyond_reach(one)

    def _predicted(self, one: Declared) -> Status:
        if not one.operation.changed:
            return Status.OK
        return Status.NEEDS_IMAGE if self._beyond_reach(one) else Status.CHANGED

    def _report_outcome(self, one: Declared, outcome: Outcome) -> None:
        status = Status.FAILED if outcome.error else Status.CHANGED if one.operation.changed else Status.OK
        self._running = None
        self._report(one, status, error=outcome.error, seconds=outcome.seconds)
        if outcome.error:
            self.fail(HostState.FAILED, f"{one.role}: {one.operation.name}: {outcome.error}")

    def _report(self, one: Declared, status: Status, *, error: str = "", seconds: float = 0.0) -> None:
        if status is Status.CHANGED and self.state is HostState.OK:
            self.state = HostState.CHANGED
        if status is Status.NEEDS_IMAGE and not self.ended:
            self.state = HostState.NEEDS_IMAGE
        changes = tuple(Change(target=n.target, what=n.what, diff=n.diff) for n in one.operation.notes)
        result = OpResult(
            role=one.role,
            half=one.half.value,
            name=one.operation.name,
            status=status,
            changes=changes if status is not Status.OK else (),
            error=error,
            seconds=seconds,
        )
        self.emit(OpFinished(host=self.job.name, result=result))
