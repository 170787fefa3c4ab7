"""Comparing declared operations with a target, all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from hatfleet.fleet.connectors.base import Ended
from hatfleet.fleet.engine.target import Target
from hatfleet.ops.gather import Failed
from hatfleet.ops.reads import Read
from hatfleet.ops.steps import Action, Note, Operation, OperationError, Steps


def compare(target: Target, operations: Sequence[Operation], prelude: str = "") -> Ended | None:
    """Compare operations with the target: afterwards each knows what it would change.

    All of them ask at once; one that asks again, because of an answer, waits for the next command with all others
    that do.

    Args:
        target: Where.
        operations: In their order. An operation that depends on triggers is compared after them.
        prelude: A script that runs before the first read; when it ends with a non-zero status nothing is compared.

    Returns:
        What the prelude's command printed, or None without a prelude.

    Raises:
        OSError: the target cannot be reached any more.
        OperationError: an operation cannot be done here.
    """
    comparisons = [_Comparison(operation, target) for operation in operations]
    wanted = _advance(comparisons)
    ended = target.gather(wanted, prelude) if prelude else None
    if ended is not None and ended.status:
        return ended
    while wanted := _advance(comparisons):
        target.gather(wanted)
    return ended


def _advance(comparisons: Sequence[_Comparison]) -> list[Read]:
    """Take every comparison as far as it gets; return the reads that they wait for."""
    for comparison in comparisons:
        comparison.advance()
    return [read for comparison in comparisons for read in comparison.waiting]


class _Comparison:
    """An operation on its way from its start to its end."""

    def __init__(self, operation: Operation, target: Target) -> None:
        self.operation = operation
        self.waiting: tuple[Read, ...] = ()
        self._target = target
        self._steps: Steps | None = None
        self._single = False

    def advance(self) -> None:
        """Go on until an answer is missing, or to the end."""
        if not self._ready():
            return
        try:
            if self._steps is None:
                self._steps = self.operation.start()
                self._take(next(self._steps))
            while not self.waiting or all(self._target.knows(read) for read in self.waiting):
                self._take(self._answer(self._steps) if self.waiting else next(self._steps))
        except StopIteration:
            self.waiting = ()
            self.operation.settled = True

    def _ready(self) -> bool:
        done = self._steps is not None and self.operation.settled
        return not done and all(trigger.settled for trigger in self.operation.triggers)

    def _take(self, step: Read | tuple[Read, ...] | Note | Action) -> None:
        self.waiting = ()
        if isinstance(step, Read | tuple):
            self._single = isinstance(step, Read)
            self.waiting = (step,) if isinstance(step, Read) else step
            self.operation.reads += self.waiting
        elif isinstance(step, Note):
            self.operation.notes.append(step)
        else:
            self.operation.actions.append(step)

    def _answer(self, steps: Steps) -> Read | tuple[Read, ...] | Note | Action:
        answers = [self._target.answer(read) for read in self.waiting]
        for answer in answers:
            if isinstance(answer, Failed):
                raise OperationError(f"{self.operation.name}: could not read the state of the target: {answer.why}")
        return steps.send(answers[0] if self._single else tuple(answers))
