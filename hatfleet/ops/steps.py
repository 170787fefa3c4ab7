"""What an operation is: a generator that reads the target, compares, and says what it would change and how.

An operation yields three things. A :class:`~hatfleet.ops.reads.Read` is answered with what it found on the target;
a :class:`Note` records a change for people; a :class:`Command` is what makes the change. Nothing runs while it is
compared: what all operations of a host want to read is gathered in one command, and what they want to do goes to the
target in as few commands as their order allows. So every read sees the target as it was before the operation's own
commands.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, Protocol, TypeAlias, runtime_checkable

from hatfleet.common.errors import HatfleetError
from hatfleet.ops.base import state_path
from hatfleet.ops.reads import FOLLOW_UPS_FILE, FollowUpsRead, Read


class OperationError(HatfleetError):
    """An operation cannot be done on this target."""


@dataclass(frozen=True)
class Command:
    """A shell script that is run as root; a non-zero exit status is a failure.

    Args:
        script: POSIX shell. It runs in a subshell of its own.
        stdin: What it reads from its standard input; it is in no process list.
    """

    script: str
    stdin: bytes | None = None


@runtime_checkable
class Archive(Protocol):
    """A tar archive, compressed by gzip, that is made when a target needs it."""

    @property
    def digest(self) -> str:
        """Stands for its content; known before it is made."""
        ...

    @property
    def about(self) -> str:
        """What is in it, for people."""
        ...

    def file(self) -> Path:
        """Return where it lies; make it first if need be.

        Raises:
            HatfleetError: it cannot be made.
        """
        ...


@dataclass(frozen=True)
class Upload:
    """A shell script that is run as root and reads a large file: it is sent as it is, in a session of its own.

    Args:
        script: POSIX shell; the file comes on its standard input.
        source: Returns the file; called when it is about to be sent.
    """

    script: str
    source: Callable[[], Path]


@dataclass(frozen=True)
class Reboot:
    """Restart the device and wait until it is back, known by a new boot id.

    Args:
        limit_s: How long it may take, in seconds.
    """

    limit_s: float


@dataclass(frozen=True)
class Note:
    """One thing that an operation changes: a path, unit or other name, what differs, and for files a diff."""

    target: str
    what: str
    diff: str = ""


@dataclass(frozen=True)
class Call:
    """Something that the engine does by another way than a script.

    Args:
        run: Does it, and returns whether that changed anything; raises :class:`OperationError`.
    """

    run: Callable[[], bool]


Action: TypeAlias = Command | Upload | Reboot | Call

Steps: TypeAlias = Generator[Read | tuple[Read, ...] | Note | Action, Any, Any]


@dataclass(frozen=True)
class Effects:
    """What running an operation's commands may change, so that it has to be read again.

    Args:
        reads: Kinds of reads; None is every kind.
        at: Name of the argument that is the one path it changes, besides these kinds.
        below: Whether what was below that path may be gone afterwards.
    """

    reads: tuple[type[Read], ...] | None = None
    at: str | None = None
    below: bool = False


def follow_up_id(kind: str, command: str) -> str:
    """Return what stands for an operation that follows others: by what it does, wherever it is declared."""
    return hashlib.sha256(json.dumps([kind, command]).encode()).hexdigest()[:16]


@dataclass(eq=False)
class Operation:
    """An operation that a role declared on one host, and what comparing it with the target found."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    body: Callable[..., Steps]
    effects: Effects
    notes: list[Note] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    settled: bool = False
    """Whether it was compared; until then nothing is known."""

    @property
    def changed(self) -> bool:
        """Whether it changes something, or did."""
        return bool(self.actions)

    @property
    def triggers(self) -> tuple[Operation, ...]:
        """The operations before it that decide whether it does anything."""
        return tuple(one for one in self.arguments.get("triggers", ()) if isinstance(one, Operation))

    @property
    def follow_up(self) -> str:
        """What stands for it in the list of what is still to be done; the same in every run."""
        return follow_up_id(self.kind, str(self.arguments.get("command", "")))

    def start(self) -> Steps:
        """Forget what was found and begin to compare."""
        self.notes, self.actions, self.reads, self.settled = [], [], [], False
        return self.body(**self.arguments)

    def may_change(self, read: Read) -> bool:
        """Whether a read that was made before its commands ran has to be made again."""
        if isinstance(read, FollowUpsRead):
            return False
        if self.effects.reads is None or isinstance(read, self.effects.reads):
            return True
        if self.effects.at is None:
            return False
        path, below = str(self.arguments[self.effects.at]), self.effects.below
        return read.depends_on(path, below=below) or read.depends_on(state_path(path), below=below)

    def digest(self) -> str:
        """Return a sha256 over its kind and all its arguments, the content of files among them."""
        text = json.dumps([self.kind, self.arguments], default=_plain, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Operation):
        return value.digest()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PurePath | Enum):
        return str(value)
    if isinstance(value, Archive):
        return value.digest
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"an operation cannot take a {type(value).__name__}")


@dataclass
class Declaration:
    """Collects the operations that roles declare for one host.

    Args:
        live: Whether the target is a running system.
        before: Called before an operation is added.
        follow_ups_file: Where the target lists what is still to follow a change.
    """

    live: bool
    before: Callable[[], None] = lambda: None
    follow_ups_file: str = FOLLOW_UPS_FILE
    operations: list[Operation] = field(default_factory=list)


_DECLARATION: ContextVar[Declaration] = ContextVar("declaration")


@contextmanager
def declaring(declaration: Declaration) -> Iterator[None]:
    """Collect the operations that are called meanwhile."""
    token = _DECLARATION.set(declaration)
    try:
        yield
    finally:
        _DECLARATION.reset(token)


def is_live() -> bool:
    """Whether the target is a running system (False while an image is built).

    Raises:
        OperationError: called from outside a role.
    """
    return _declaration().live


def follow_ups() -> FollowUpsRead:
    """Return the read of what an earlier run left to be done on the target."""
    return FollowUpsRead(_declaration().follow_ups_file)


def _declaration() -> Declaration:
    try:
        return _DECLARATION.get()
    except LookupError:
        raise OperationError("operations can only be called by a role's image or device half") from None


class OperationKind:
    """What a role calls: it declares an operation on the host that roles are being run for.

    Args:
        body: The generator function.
        effects: What its commands may change.
    """

    def __init__(self, body: Callable[..., Steps], effects: Effects) -> None:
        functools.update_wrapper(self, body)
        self.body = body
        self._effects = effects

    def __call__(self, *, name: str = "", **arguments: Any) -> Operation:
        """Declare it; ``name`` is what people read.

        Raises:
            OperationError: called from outside a role.
            TypeError: arguments that the operation does not have.
        """
        self.body(**arguments).close()  # a wrong argument is found where it is written
        kind = self.body.__name__
        declaration = _declaration()
        declared = Operation(kind, name or kind, arguments, self.body, self._effects)
        declaration.before()
        declaration.operations.append(declared)
        return declared


def operation(
    *, affects: tuple[type[Read], ...] | None = None, at: str | None = None, below: bool = False
) -> Callable[[Callable[..., Steps]], OperationKind]:
    """Make an operation out of a generator function with keyword arguments.

    Another operation can use its ``body`` with ``yield from``.

    Args:
        affects: The kinds of reads that its commands may change; every kind by default.
        at: The argument that is the one path its commands change, besides those kinds.
        below: Whether what was below that path may be gone afterwards.
    """
    effects = Effects(() if affects is None and at else affects, at, below)
    return lambda body: OperationKind(body, effects)
