"""The contract with the worker process: one job in as JSON, events out as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from hatfleet.common.errors import ExitCode, HatfleetError, InputError, InputErrors, Where
from hatfleet.compliance.results import ControlResult, Listing
from hatfleet.fleet.job import Connection, Message, RoleRun, secrets_of


class ListJob(Message):
    """Collect the controls of some roles; no host is needed."""

    kind: Literal["list"] = "list"
    site: Path
    roles: tuple[str, ...]


class CheckJob(Message):
    """Run the checks of some roles on one host."""

    kind: Literal["check"] = "check"
    name: str
    """The inventory name of the host."""
    site: Path
    roles: tuple[RoleRun, ...]
    connection: Connection | None = None
    on_this_machine: bool = False
    """Run on the machine that the worker runs on, as its user, instead of over a connection."""
    rootfs: Path | None = None
    """Run inside this root file system, and only what can be judged there: nothing that needs a booted system."""
    rootfs_native: Path | None = None
    """A tools tree that lends the root file system programs which need no emulation; None: all are its own."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values in the settings that must not be seen."""
        return secrets_of(self.roles)

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        # A forgotten connection must never turn the admin's own machine into the device that is judged.
        if sum((self.connection is not None, self.on_this_machine, self.rootfs is not None)) != 1:
            raise ValueError("give a connection, or on_this_machine=True, or rootfs, and only one of them")
        secrets_of(self.roles)
        return self


AnyJob = Annotated[ListJob | CheckJob, Field(discriminator="kind")]
JOB: TypeAdapter[AnyJob] = TypeAdapter(AnyJob)


class Listed(Message):
    """Answer to a ListJob."""

    event: Literal["listed"] = "listed"
    listing: Listing


class Connected(Message):
    """The host let us in; ``image`` names the image it runs, when it says so."""

    event: Literal["connected"] = "connected"
    image: str | None


class Checked(Message):
    """One control was run to its end."""

    event: Literal["checked"] = "checked"
    result: ControlResult


class ErrorInfo(Message):
    """An error of ours on its way through the pipe."""

    message: str
    hint: str | None
    file: Path | None
    line: int | None
    key: str | None

    @classmethod
    def of(cls, error: HatfleetError) -> ErrorInfo:
        """Describe an error."""
        where = error.where or Where()
        return cls(message=error.message, hint=error.hint, file=where.file, line=where.line, key=where.key)

    def input_error(self) -> InputError:
        """Make the error again on the other side."""
        where = Where(self.file, self.line, self.key)
        return InputError(self.message, hint=self.hint, where=where if str(where) else None)


class Stopped(Message):
    """The worker stopped before its job was done."""

    event: Literal["stopped"] = "stopped"
    exit_code: ExitCode
    errors: tuple[ErrorInfo, ...]

    @classmethod
    def by(cls, error: HatfleetError) -> Stopped:
        """Describe the error that stopped the worker."""
        parts = error.errors if isinstance(error, InputErrors) else (error,)
        return cls(exit_code=error.exit_code, errors=tuple(ErrorInfo.of(part) for part in parts))


class Done(Message):
    """The job was done to its end; without this event it was not."""

    event: Literal["done"] = "done"


AnyEvent = Annotated[Listed | Connected | Checked | Stopped | Done, Field(discriminator="event")]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
