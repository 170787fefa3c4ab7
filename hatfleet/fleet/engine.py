"""The engine: runs roles on targets through pyinfra's API. Only the worker process imports this.

pyinfra's documented API has traps; how each is avoided is written down in docs/decisions/0002-pyinfra-embedded.md.
In short: every host prepares and executes in a greenlet of its own, in its own order, and does its own accounting;
operations are told apart by call site *and* host; one State is one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gevent
import pyinfra
from pyinfra.api.config import Config
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from hatfleet import ops
from hatfleet.common.errors import HatfleetError
from hatfleet.common.site import Site
from hatfleet.fleet.connectors.node import NodeConnector
from hatfleet.fleet.connectors.rootfs import RootfsConnector
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import (
    Change,
    Connected,
    Event,
    HostFinished,
    HostState,
    OpFinished,
    OpResult,
    OpStarted,
    Prepared,
    Status,
)
from hatfleet.fleet.roles import DeviceContext, Half, RoleCode, load_role_code
from hatfleet.ops.base import CHANGES

#: The role name under which the packages of all roles are installed, in one apt run.
PACKAGES = "packages"

Emit = Callable[[Event], None]


@dataclass
class PlannedOp:
    """An operation that a role asked for on one host."""

    role: str
    half: str
    name: str
    op_hash: str
    will_change: bool
    changes: tuple[Change, ...]


@dataclass
class HostRun:
    """One host's way through a run."""

    job: HostJob
    host: Host
    started_s: float = field(default_factory=time.monotonic)
    sealed: bool = False
    planned: list[PlannedOp] = field(default_factory=list)
    state: HostState = HostState.OK
    error: str = ""
    finished: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be done on this host."""
        return self.state in (HostState.FAILED, HostState.UNREACHABLE)

    def fail(self, state: HostState, error: str) -> None:
        """Stop for this host, and for this host only."""
        self.state, self.error = state, error


def run(job: Job, emit: Emit) -> None:
    """Run a job and report everything through ``emit``; a host's failure is an event, not an exception.

    Raises:
        InputError: a role does not load.
    """
    pyinfra.is_cli = True  # tell operations apart by call site, not by their position on a host
    site = Site(job.site)
    roles = {run.name: load_role_code(site, run.name) for host in job.hosts for run in host.roles}
    inventory = _inventory(job)
    state = State(inventory, Config(), check_for_changes=True)
    state.cwd = "."
    runs = [HostRun(host_job, inventory.get_host(host_job.name)) for host_job in job.hosts]
    with _contexts(state, inventory):
        try:
            state.set_stage(StateStage.Connect)
            _for_each(state, runs, lambda run: _connect(state, run, emit))
            state.set_stage(StateStage.Prepare)
            _for_each(state, runs, lambda run: _prepare(state, run, job, roles, emit))
            state.set_stage(StateStage.Execute)
            state.is_executing = True
            _for_each(state, runs, lambda run: _execute(state, run, job, emit))
            for host_run in runs:
                _finish(host_run, emit)
        finally:
            state.set_stage(StateStage.Disconnect)
            disconnect_all(state)


@contextmanager
def _contexts(state: State, inventory: Inventory) -> Iterator[None]:
    """Set pyinfra's process-global contexts, and reset them whatever happens (its own ``use`` does not)."""
    ctx_state.set(state)
    ctx_inventory.set(inventory)
    try:
        yield
    finally:
        for context in (ctx_host, ctx_inventory, ctx_state):
            context.reset()


def _inventory(job: Job) -> Inventory:
    """Make pyinfra's inventory, each host with the connector of ours that reaches it."""
    inventory = Inventory(([(host.name, _host_data(host)) for host in job.hosts], {}))
    for host in job.hosts:
        inventory.get_host(host.name).connector_cls = NodeConnector if host.rootfs is None else RootfsConnector
    return inventory


def _host_data(host: HostJob) -> dict[str, Any]:
    if host.connection is not None:
        return {"hatfleet_connection": host.connection, "hatfleet_live": True, "_sudo": host.connection.become}
    return {"hatfleet_rootfs": str(host.rootfs), "hatfleet_live": False}


def _for_each(state: State, runs: list[HostRun], action: Callable[[HostRun], None]) -> None:
    """Do one phase on all hosts at once; what goes wrong on a host stays with it."""

    def guarded(run: HostRun) -> None:
        with ctx_host.use(run.host), ctx_config.use(state.config.copy()):
            try:
                action(run)
            except (HatfleetError, PyinfraError, OSError) as error:
                run.fail(HostState.FAILED, str(error))
            except Exception as error:  # a role is somebody's code: name what it did, go on with the others
                run.fail(HostState.FAILED, f"{type(error).__name__}: {error}")

    gevent.joinall([state.pool.spawn(guarded, run) for run in runs if not run.ended])


def _connect(state: State, run: HostRun, emit: Emit) -> None:
    try:
        run.host.connect(show_errors=False, raise_exceptions=True)
    except ConnectError as error:
        run.fail(HostState.UNREACHABLE, str(error))
        _finish(run, emit)
        return
    state.activate_host(run.host)
    emit(Connected(host=run.job.name))


def _prepare(state: State, run: HostRun, job: Job, roles: dict[str, RoleCode], emit: Emit) -> None:
    """Let the roles declare their operations, each compared with the target at once."""
    run.sealed = run.job.rootfs is None and _is_sealed()
    try:
        for position, (role, half, declare) in enumerate(_declarations(run, job, roles)):
            # pyinfra makes an operation's identity from these numbers and the line numbers on the stack.
            run.host.loop_position = [_number(job, run), position]
            before = set(state.ops[run.host])
            try:
                declare()
            finally:
                run.planned += [
                    _planned(state, run, role, half, key) for key in state.ops[run.host] if key not in before
                ]
    except Exception as error:
        run.fail(HostState.FAILED, str(error) or type(error).__name__)
    if job.mode is Mode.PLAN or run.ended:
        _report_plan(run, emit)
        _finish(run, emit)
        return
    emit(Prepared(host=run.job.name, operations=len(_to_execute(run))))


def _number(job: Job, run: HostRun) -> int:
    return next(i for i, host in enumerate(job.hosts) if host.name == run.job.name)


def _is_sealed() -> bool:
    """Whether the device runs from a root file system that cannot be written."""
    return "ro" in ",".join(ops.query("findmnt -n -o OPTIONS /")).split(",")


def _declarations(
    run: HostRun, job: Job, roles: dict[str, RoleCode]
) -> Iterator[tuple[str, Half, Callable[[], object]]]:
    """Yield what to call on this host: the packages of all roles first, then each role's halves in order."""
    context = DeviceContext(name=run.job.name)
    chosen = [(roles[r.name], roles[r.name].info.settings.model_validate(r.settings)) for r in run.job.roles]
    if Half.IMAGE in job.halves:
        names = sorted({name for code, settings in chosen if code.packages for name in code.packages(settings)})
        if names:
            yield PACKAGES, Half.IMAGE, partial(ops.packages, name="packages of the roles", names=names)
    for code, settings in chosen:
        if Half.IMAGE in job.halves and code.image:
            yield code.info.name, Half.IMAGE, partial(code.image, settings)
        if Half.DEVICE in job.halves and code.device:
            yield code.info.name, Half.DEVICE, partial(code.device, settings, context)


def _planned(state: State, run: HostRun, role: str, half: Half, op_hash: str) -> PlannedOp:
    names = sorted(state.get_op_meta(op_hash).names)
    will_change = state.ops[run.host][op_hash].operation_meta.will_change
    return PlannedOp(role, half.value, ", ".join(names), op_hash, will_change, _take_changes(run.host, op_hash))


def _take_changes(host: Host, op_hash: str) -> tuple[Change, ...]:
    recorded = host.connector_data.get(CHANGES, {}).pop(op_hash, [])
    return tuple(Change(target=target, what=what, diff=diff) for target, what, diff in recorded)


def _beyond_reach(run: HostRun, op: PlannedOp) -> bool:
    """Whether an operation belongs to the read-only image of a sealed device: compared, never forced."""
    return run.sealed and op.half == Half.IMAGE


def _to_execute(run: HostRun) -> list[PlannedOp]:
    """Return what is to be executed: nothing at all when nothing would change.

    Otherwise everything, because an operation that has nothing to do now may have something to do after another
    one (a package that brings a configuration file).
    """
    reachable = [op for op in run.planned if not _beyond_reach(run, op)]
    return reachable if any(op.will_change for op in reachable) else []


def _report_plan(run: HostRun, emit: Emit) -> None:
    for op in run.planned:
        status = Status.OK
        if op.will_change:
            status = Status.NEEDS_IMAGE if _beyond_reach(run, op) else Status.CHANGED
        _report(run, op, status, op.changes, emit=emit)


def _execute(state: State, run: HostRun, job: Job, emit: Emit) -> None:
    if job.mode is Mode.PLAN:
        return
    todo = {op.op_hash for op in _to_execute(run)}
    for op in run.planned:
        if op.op_hash not in todo:
            differs = op.will_change and _beyond_reach(run, op)
            _report(run, op, Status.NEEDS_IMAGE if differs else Status.OK, op.changes, emit=emit)
            continue
        if run.ended:
            break
        _execute_op(state, run, op, emit)
    _finish(run, emit)


def _execute_op(state: State, run: HostRun, op: PlannedOp, emit: Emit) -> None:
    emit(OpStarted(host=run.job.name, role=op.role, name=op.name))
    started_s = time.monotonic()
    meta = state.ops[run.host][op.op_hash].operation_meta
    error = ""
    try:
        succeeded = run_host_op(state, run.host, op.op_hash)
        if not succeeded:
            error = meta.stderr.strip() or meta.stdout.strip() or "the command failed without a word"
    except (HatfleetError, OSError) as failure:
        succeeded, error = False, str(failure)
    changes = _take_changes(run.host, op.op_hash)
    changed = succeeded and meta.did_change()
    status = Status.CHANGED if changed else Status.OK if succeeded else Status.FAILED
    _report(run, op, status, changes, error=error, seconds=time.monotonic() - started_s, emit=emit)
    if not succeeded:
        run.fail(HostState.FAILED, f"{op.role}: {op.name}: {error}")


def _report(
    run: HostRun,
    op: PlannedOp,
    status: Status,
    changes: tuple[Change, ...],
    *,
    emit: Emit,
    error: str = "",
    seconds: float = 0.0,
) -> None:
    if status is Status.CHANGED and run.state is HostState.OK:
        run.state = HostState.CHANGED
    if status is Status.NEEDS_IMAGE and not run.ended:
        run.state = HostState.NEEDS_IMAGE
    result = OpResult(
        role=op.role, half=op.half, name=op.name, status=status, changes=changes, error=error, seconds=seconds
    )
    emit(OpFinished(host=run.job.name, result=result))


def _finish(run: HostRun, emit: Emit) -> None:
    """Say how a host ended, once."""
    if run.finished:
        return
    run.finished = True
    seconds = time.monotonic() - run.started_s
    emit(HostFinished(host=run.job.name, state=run.state, error=run.error, seconds=seconds))
