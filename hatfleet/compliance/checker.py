"""Runs the collected checks on one host: a pytest plugin, loaded only in the worker."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hatfleet.common.errors import UnreachableError
from hatfleet.compliance.collector import CHECKS_FILES, Collector, RoleModule
from hatfleet.compliance.results import ControlResult, Outcome, printable
from hatfleet.fleet.roles import DeviceContext
from hatfleet.fleet.settings import RoleSettings

#: How long one control may take, seconds. A command that hangs on the device must not hang the fleet's run.
CONTROL_LIMIT_S = 300

#: How much of a message is kept, characters.
MESSAGE_LIMIT = 800

_SEVERITY = (Outcome.PASSED, Outcome.NOT_APPLICABLE, Outcome.FAILED, Outcome.ERROR)


class ControlTimeoutError(Exception):
    """A control took longer than CONTROL_LIMIT_S."""


class Checker:
    """Gives the checks their fixtures and reports each control when it is done.

    Args:
        collector: Knows the control of every test.
        host: The testinfra host.
        device: What a check may know about the device.
        settings: The validated settings of every role.
        on_result: Called once per control.
    """

    def __init__(
        self,
        collector: Collector,
        host: Any,
        device: DeviceContext,
        settings: Mapping[str, RoleSettings],
        on_result: Callable[[ControlResult], None],
    ) -> None:
        self._collector = collector
        self._host = host
        self._device = device
        self._settings = settings
        self._on_result = on_result
        self._found: tuple[Outcome, str] = (Outcome.PASSED, "")
        self._seconds = 0.0
        self.lost: UnreachableError | None = None
        """Why the connection was lost, if it was."""

    @pytest.fixture(scope="session")
    def host(self) -> Any:
        """The device, as testinfra sees it; commands run as root."""
        return self._host

    @pytest.fixture(scope="session")
    def device(self) -> DeviceContext:
        """The device as the inventory knows it."""
        return self._device

    @pytest.fixture(scope="module")
    def settings(self, request: pytest.FixtureRequest) -> RoleSettings:
        """The settings of the role that the check belongs to."""
        module = request.node.getparent(RoleModule)
        return self._settings[module.role]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        """Limit the time that fixtures may take."""
        with time_limit():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Limit the time that the check itself may take."""
        with time_limit():
            return (yield)

    def pytest_runtest_logstart(self) -> None:
        """Begin a control."""
        self._found = (Outcome.PASSED, "")
        self._seconds = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note how a phase (set-up, call, tear-down) of a control ended; the worst one counts."""
        report = yield
        self._seconds += call.duration
        if call.excinfo is not None:
            found = judge(call.excinfo.value)
            if _SEVERITY.index(found[0]) > _SEVERITY.index(self._found[0]):
                self._found = found
            if isinstance(call.excinfo.value, UnreachableError):
                self.lost = call.excinfo.value
                item.session.shouldstop = str(self.lost)
        if call.when == "teardown":
            outcome, message = self._found
            control = asdict(self._collector.control(item))
            self._on_result(ControlResult(**control, outcome=outcome, message=message, seconds=self._seconds))
        return report


def judge(error: BaseException) -> tuple[Outcome, str]:
    """Return what an exception that ended a check means, and the message for the auditor."""
    if isinstance(error, AssertionError):
        return Outcome.FAILED, _tidy(_assertion_message(error))
    if isinstance(error, pytest.fail.Exception):
        return Outcome.FAILED, _tidy(error.msg or "")
    if isinstance(error, pytest.skip.Exception):
        return Outcome.NOT_APPLICABLE, _tidy(error.msg or "no reason was given")
    places = [(Path(frame.filename).name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(name, line) for name, line in places if any(fnmatchcase(name, pattern) for pattern in CHECKS_FILES)]
    place = f" ({own[-1][0]} line {own[-1][1]})" if own else ""
    return Outcome.ERROR, _tidy(f"the check broke: {type(error).__name__}: {error}{place}")


def _assertion_message(error: AssertionError) -> str:
    """Return the author's own message; what pytest worked out only when the author wrote none."""
    text = str(error)
    if text.startswith("assert "):
        return "\n".join(text.splitlines()[:6])
    return text.partition("\nassert ")[0]


def _tidy(message: str) -> str:
    text = printable(message.strip()) or "the check failed without a message"
    return text if len(text) <= MESSAGE_LIMIT else text[:MESSAGE_LIMIT] + " …"


@contextmanager
def time_limit() -> Generator[None, None, None]:
    """Raise ControlTimeoutError in the block when it takes longer than CONTROL_LIMIT_S."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise ControlTimeoutError(f"no result after {CONTROL_LIMIT_S} s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(CONTROL_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
