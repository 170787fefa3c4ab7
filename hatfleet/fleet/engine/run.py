"""The engine: runs roles on targets through pyinfra's API. Only the worker process imports this.

pyinfra's documented API has traps; how each is avoided is written down in docs/decisions/0002-pyinfra-embedded.md.
In short: every host goes its way in a greenlet of its own, in its own order, and does its own accounting; our
operations are compared and changed together (:mod:`hatfleet.fleet.engine.hostrun`), pyinfra's own run one by one
between them; one State is one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.pool
import pyinfra
from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.connectors.base import StreamConnector
from hatfleet.fleet.connectors.node import NodeConnector
from hatfleet.fleet.connectors.rootfs import RootfsConnector
from hatfleet.fleet.engine.declare import declare, load_roles
from hatfleet.fleet.engine.hostrun import Emit, HostRun
from hatfleet.fleet.engine.lease import Lease, LeaseHeld
from hatfleet.fleet.engine.restart import restart
from hatfleet.fleet.engine.target import Target
from hatfleet.fleet.engine.tracing import Tracer
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import Connected, HostState
from hatfleet.fleet.roles import RoleCode
from hatfleet.fleet.ssh import Jumps
from hatfleet.ops.reads import FOLLOW_UPS_FILE
from hatfleet.ops.steps import Call, Declaration, Effects, Note, Operation, OperationError, Steps, declaring


def run(job: Job, emit: Emit, *, connector: Callable[[HostJob], type[StreamConnector]] | None = None) -> None:
    """Run a job and report everything through ``emit``; a host's failure is an event, not an exception.

    Args:
        job: What to do.
        emit: Receives the events.
        connector: Chooses how a host is reached; by default over SSH, or in its root file system.

    Raises:
        InputError: a role does not load.
    """
    pyinfra.is_cli = True  # tell operations apart by call site, not by their position on a host
    roles = load_roles(job)
    jumps = Jumps()
    inventory = _inventory(job, connector or _connector, jumps)
    state = State(inventory, Config(), check_for_changes=True)
    state.cwd = "."
    with jumps, _contexts(state, inventory), Tracer() as tracer:
        # Hosts go their own ways: the stages are those of the run as a whole.
        for stage in (StateStage.Connect, StateStage.Prepare, StateStage.Execute):
            state.set_stage(stage)
        # As many hosts at once as the job holds: what runs at once over all jobs is decided by who cuts the batches.
        pool = gevent.pool.Pool(max(1, len(job.hosts)))
        shared = _Shared(state, job, roles, emit, tracer)
        pool.map(lambda number: _Way(shared, number).go(), range(len(job.hosts)))


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


def _connector(host: HostJob) -> type[StreamConnector]:
    return NodeConnector if host.rootfs is None else RootfsConnector


def _inventory(job: Job, connector: Callable[[HostJob], type[StreamConnector]], jumps: Jumps) -> Inventory:
    """Make pyinfra's inventory, each host with the connector of ours that reaches it."""
    inventory = Inventory(([(host.name, _host_data(host, jumps)) for host in job.hosts], {}))
    for host in job.hosts:
        inventory.get_host(host.name).connector_cls = connector(host)
    return inventory


def _host_data(host: HostJob, jumps: Jumps) -> dict[str, Any]:
    if host.connection is not None:
        become = host.connection.become
        return {"hatfleet_connection": host.connection, "hatfleet_jumps": jumps, "_sudo": become}
    native = str(host.rootfs_native) if host.rootfs_native else None
    return {
        "hatfleet_rootfs": str(host.rootfs),
        "hatfleet_epoch_s": host.rootfs_epoch_s,
        "hatfleet_native": native,
    }


@dataclass(frozen=True)
class _Shared:
    """What all hosts of a run have in common."""

    state: State
    job: Job
    roles: dict[str, RoleCode]
    emit: Emit
    tracer: Tracer


class _Way:
    """One host's way through a run, from its connection to its end."""

    def __init__(self, shared: _Shared, number: int) -> None:
        job, host_job = shared.job, shared.job.hosts[number]
        self._state, self._job, self._number, self._roles = shared.state, job, number, shared.roles
        self._emit, self._tracer = shared.emit, shared.tracer
        self._host: Host = shared.state.inventory.get_host(host_job.name)
        self._foreign: set[str] = set()
        connection = host_job.connection
        self._run = HostRun(
            host_job,
            job.mode,
            shared.emit,
            lease=Lease(job.operator, job.lease_s, job.lease_wait_s, connection.lease_file) if connection else None,
            restart=self._restart,
        )

    def go(self) -> None:
        """Do everything that is to be done on this host; what goes wrong stays with it."""
        run = self._run
        with ctx_host.use(self._host), ctx_config.use(self._state.config.copy()):
            try:
                self._work()
            except ConnectError as error:
                run.fail(HostState.UNREACHABLE, str(error))
            except LeaseHeld as error:
                run.fail(HostState.LOCKED, str(error))
            except (HatfleetError, PyinfraError, OSError) as error:
                run.fail(HostState.FAILED, str(error) or type(error).__name__)
            except Exception as error:  # a role is somebody's code: name what it did, go on with the others
                run.fail(HostState.FAILED, f"{type(error).__name__}: {error}")
            finally:
                with suppress(OSError):
                    self._host.disconnect()
        # Not when the run is given up: then the host is not done, and whoever gave it up says so.
        run.finish()

    def _work(self) -> None:
        run, host = self._run, self._host
        host.connect(show_errors=False, raise_exceptions=True)
        connector = self._connector
        self._state.activate_host(host)
        self._emit(Connected(host=run.job.name))
        live = run.job.rootfs is None
        run.target = Target(connector.run_script, connector.send_file, live=live, trace=self._tracer.of(run.job.name))
        connection = run.job.connection
        file = connection.follow_ups_file if connection else FOLLOW_UPS_FILE
        declaration = Declaration(live=live, before=self._take_foreign, follow_ups_file=file)
        self._declaration = declaration
        run.declared = declare(run.job, self._job.halves, self._roles, declaration, self._number_loop)
        with declaring(declaration):
            run.compare()
            if self._job.mode is Mode.PLAN:
                run.report_plan()
            else:
                run.execute()

    @property
    def _connector(self) -> StreamConnector:
        connector = self._host.connector
        assert isinstance(connector, StreamConnector)
        return connector

    def _number_loop(self, position: int) -> None:
        # pyinfra makes an operation's identity from these numbers and the line numbers on the stack.
        self._host.loop_position = [self._number, position]

    def _take_foreign(self) -> None:
        """Put the operations of pyinfra's own that a role called since the last of ours into their place."""
        if len(self._state.ops[self._host]) == len(self._foreign):
            return
        for key in self._state.ops[self._host]:
            if key not in self._foreign:
                self._foreign.add(key)
                name = ", ".join(sorted(self._state.get_op_meta(key).names))
                arguments = {"way": self, "key": key, "name": name}
                self._declaration.operations.append(Operation("pyinfra", name, arguments, _foreign_steps, Effects()))

    def would_change(self, key: str) -> bool:
        """Whether an operation of pyinfra's own may have something to do; after a change it looks again itself."""
        meta = self._state.ops[self._host][key].operation_meta
        return bool(meta.will_change) or (self._run.changed and not meta.is_complete())

    def run_foreign(self, key: str) -> bool:
        """Run an operation of pyinfra's own; return whether it changed something.

        Raises:
            OperationError: it failed.
        """
        meta = self._state.ops[self._host][key].operation_meta
        self._state.is_executing = True
        if not run_host_op(self._state, self._host, key):
            raise OperationError(meta.stderr.strip() or meta.stdout.strip() or "the command failed without a word")
        return bool(meta.did_change())

    def _restart(self, limit_s: float) -> None:
        restart(self._connector, limit_s)


def _foreign_steps(*, way: _Way, key: str, name: str) -> Steps:
    if way.would_change(key):
        yield Note(name, "pyinfra operation")
        yield Call(lambda: way.run_foreign(key))
