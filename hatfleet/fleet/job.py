"""The contract between the command line and the worker processes: a job in, events out, both as JSON.

A worker reads a job per line on standard input and writes one event per line on standard output. Nothing secret is
ever in its arguments or environment. A job holds secrets in its settings and says which they are, so that the worker
covers them in everything it sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json

from hatfleet.common.redact import Redactor
from hatfleet.fleet.engine.lease import LEASE_FILE
from hatfleet.fleet.roles import Half
from hatfleet.ops.reads import FOLLOW_UPS_FILE


class Message(BaseModel):
    """Base of everything that crosses the process boundary."""

    # A validation error would quote its input, secrets and all.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Connection(Message):
    """How to reach a device over SSH. Host keys are always verified, against ``known_hosts``."""

    address: str
    port: int = 22
    user: str
    key_file: Path | None = None
    known_hosts: Path
    become: bool = True
    jump: Connection | None = None
    """The host to connect through; its host key is verified as well."""
    lease_file: str = LEASE_FILE
    """Where the lease lies on the device."""
    follow_ups_file: str = FOLLOW_UPS_FILE
    """Where the device lists what is still to follow a change."""
    connect_timeout_s: float = 10.0


class RoleRun(Message):
    """A role to run on a host, with its validated settings."""

    name: str
    settings: dict[str, Any] = Field(repr=False)
    """Secrets are in it as plain values: it goes to a worker, and nowhere else."""
    secrets: tuple[str, ...] = Field(default=(), repr=False)
    """The values in the settings that must not be seen."""
    disclosed: bool = True
    """False when encrypted values were not decrypted: such settings are to look at, not to run."""


class HostJob(Message):
    """One target: a device (``connection``) or a root file system (``rootfs``), and the roles to run on it."""

    name: str
    connection: Connection | None = None
    rootfs: Path | None = None
    rootfs_epoch_s: int | None = None
    """What programs in the root file system write down as today, seconds since 1970; None: the builder's clock."""
    rootfs_native: Path | None = None
    """A tools tree that lends the root file system programs which need no emulation; None: all are its own."""
    roles: tuple[RoleRun, ...]


def secrets_of(roles: Sequence[RoleRun]) -> tuple[str, ...]:
    """Return the values in the settings of roles that must not be seen, each once.

    Raises:
        ValueError: a role's encrypted values were not decrypted; running it would write nonsense to a device.
    """
    closed = [role.name for role in roles if not role.disclosed]
    if closed:
        raise ValueError(f"the secrets of {', '.join(closed)} were not decrypted")
    return tuple(dict.fromkeys(secret for role in roles for secret in role.secrets))


#: What programs tell events apart by; it comes from the site, not from a device.
_IDENTIFIERS = frozenset({"event", "host", "id", "role", "half"})


def redacted_json(message: Message, redactor: Redactor) -> bytes:
    """Return a message as one line of JSON with all secrets in its texts covered."""
    if not redactor:
        return to_json(message)
    return to_json(redactor.data(message.model_dump(), keep=_IDENTIFIERS))


class Mode(StrEnum):
    """What a job does."""

    PLAN = "plan"
    APPLY = "apply"


class Job(Message):
    """A run over one or more targets."""

    mode: Mode
    site: Path
    halves: tuple[Half, ...] = (Half.IMAGE, Half.DEVICE)
    hosts: tuple[HostJob, ...]
    operator: str = ""
    """Who runs it ("anna@admin-1"): the holder of the leases on the devices."""
    lease_s: float = 1800.0
    """How long a silent holder keeps a lease, in seconds."""
    lease_wait_s: float = 30.0
    """How long to wait for a lease that somebody else holds, in seconds: a run that was cut off may have left a command
    on the device that is just ending."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values in all settings that must not be seen."""
        return secrets_of([role for host in self.hosts for role in host.roles])

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        secrets_of([role for host in self.hosts for role in host.roles])
        return self
