"""From roles to the operations of one host; and, as a program, what can be known of them without any host.

``python -m hatfleet.fleet.engine.declare`` reads a job as JSON on standard input and prints what every host's roles
declare, with a digest of each operation's arguments (the rendered content of files among them), as JSON.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hatfleet.common.errors import HatfleetError
from hatfleet.common.redact import Redactor
from hatfleet.common.site import Site
from hatfleet.fleet.job import HostJob, Job
from hatfleet.fleet.roles import DeviceContext, Half, RoleCode, load_role_code
from hatfleet.ops.packages import packages
from hatfleet.ops.steps import Declaration, Operation, declaring

#: The role name under which the packages of all roles are installed, in one apt run.
PACKAGES = "packages"


@dataclass(frozen=True)
class Declared:
    """An operation, and which half of which role declared it."""

    role: str
    half: Half
    operation: Operation


class RoleError(HatfleetError):
    """A role's code failed."""

    def __init__(self, role: str, error: Exception) -> None:
        kind = "" if isinstance(error, HatfleetError) else f"{type(error).__name__}: "
        super().__init__(f"{role}: {kind}{error}")
        self.role = role
        self.reason = f"{kind}{error}"


def load_roles(job: Job) -> dict[str, RoleCode]:
    """Import the roles of all hosts of a job.

    Raises:
        InputError: a role does not load.
    """
    site = Site(job.site)
    names = dict.fromkeys(run.name for host in job.hosts for run in host.roles)
    return {name: load_role_code(site, name) for name in names}


def declare(
    host: HostJob,
    halves: Sequence[Half],
    roles: dict[str, RoleCode],
    declaration: Declaration,
    around: Callable[[int], None] = lambda position: None,
) -> list[Declared]:
    """Call a host's roles; the packages of all roles come first, then each role's halves in order.

    Args:
        host: The host.
        halves: Which halves to call.
        roles: The roles' code.
        declaration: Receives the operations.
        around: Called before each role's half, with its number.

    Raises:
        RoleError: a role's code failed.
    """
    declared: list[Declared] = []
    with declaring(declaration):
        for position, (role, half, call) in enumerate(_calls(host, halves, roles)):
            around(position)
            begin = len(declaration.operations)
            try:
                call()
                declaration.before()
            except Exception as error:  # a role is somebody's code: name it, go on with the other hosts
                raise RoleError(role, error) from error
            declared += [Declared(role, half, operation) for operation in declaration.operations[begin:]]
    return declared


def _calls(
    host: HostJob, halves: Sequence[Half], roles: dict[str, RoleCode]
) -> list[tuple[str, Half, Callable[[], Any]]]:
    context = DeviceContext(name=host.name)
    chosen = [(roles[run.name], roles[run.name].info.settings.model_validate(run.settings)) for run in host.roles]
    calls: list[tuple[str, Half, Callable[[], Any]]] = []
    if Half.IMAGE in halves:
        names = sorted({name for code, settings in chosen if code.packages for name in code.packages(settings)})
        if names:
            calls.append((PACKAGES, Half.IMAGE, lambda: packages(name="packages of the roles", names=names)))
    for code, settings in chosen:
        if Half.IMAGE in halves and code.image:
            calls.append((code.info.name, Half.IMAGE, _bind(code.image, settings)))
        if Half.DEVICE in halves and code.device:
            calls.append((code.info.name, Half.DEVICE, _bind(code.device, settings, context)))
    return calls


def _bind(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: function(*arguments)


def _in_pyinfra(error: BaseException | None) -> bool:
    """Whether it was pyinfra that failed: its operations read a device while they are declared."""
    frames = traceback.walk_tb(error.__traceback__ if error else None)
    return any(str(frame.f_globals.get("__name__")).startswith("pyinfra.") for frame, _ in frames)


def main() -> int:
    """Print the declarations of a job's hosts; what goes wrong with a host stands under "errors"."""
    job = Job.model_validate_json(sys.stdin.buffer.read())
    hosts: dict[str, list[dict[str, str]]] = {}
    errors: list[dict[str, str | bool]] = []
    try:
        roles = load_roles(job)
    except HatfleetError as error:
        sys.stderr.write(Redactor(job.secrets).text(f"{error}\n"))
        return int(error.exit_code)
    for host in job.hosts:
        try:
            declared = declare(host, job.halves, roles, Declaration(live=host.rootfs is None))
        except RoleError as error:
            if _in_pyinfra(error.__cause__):
                reason = "it uses operations of pyinfra's own, which can be declared on a device only"
                errors.append({"host": host.name, "role": error.role, "message": reason, "needs_device": True})
            else:
                errors.append({"host": host.name, "role": error.role, "message": error.reason})
            continue
        hosts[host.name] = [
            {"role": d.role, "half": d.half.value, "name": d.operation.name, "digest": d.operation.digest()}
            for d in declared
        ]
    json.dump(Redactor(job.secrets).data({"hosts": hosts, "errors": errors}), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
