"""The contract between the command line and the worker processes: a job in, events out, both as JSON.

A worker reads a job per line on standard input and writes one event per line on standard output. Nothing secret is
ever in its arguments or environment.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hatfleet.fleet.roles import Half


class Message(BaseModel):
    """Base of everything that crosses the process boundary."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Connection(Message):
    """How to reach a device over SSH. Host keys are always verified, against ``known_hosts``."""

    address: str
    port: int = 22
    user: str
    key_file: Path | None = None
    known_hosts: Path
    become: bool = True
    connect_timeout_s: float = 10.0


class RoleRun(Message):
    """A role to run on a host, with its validated settings."""

    name: str
    settings: dict[str, Any]


class HostJob(Message):
    """One target: a device (``connection``) or a root file system (``rootfs``), and the roles to run on it."""

    name: str
    connection: Connection | None = None
    rootfs: Path | None = None
    roles: tuple[RoleRun, ...]


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
    """Who runs it (``user@machine``), shown to others as the holder of a host's lease."""
    lease_s: float = 600.0
    """How long a host stays leased to the operator unless the lease is renewed or given back, seconds."""
