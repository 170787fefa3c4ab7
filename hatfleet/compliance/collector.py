"""Collects exactly the roles' checks: a pytest plugin, loaded only in the worker.

They stand in a role's ``checks.py``; a role with many may part them in files ``checks_*.py``.

pytest's own collection would import every role (and with it pyinfra) to reach its checks, and would look for
conftest files on the way. Here each file is loaded on its own, under its proper name.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hatfleet.common.errors import InputError, InputErrors, Where
from hatfleet.compliance.marks import control_of
from hatfleet.compliance.results import Control, Listing
from hatfleet.fleet.roles import RoleInfo

CHECKS_FILE = "checks.py"
#: Names of all files with checks, as pytest's option python_files takes them.
CHECKS_FILES = (CHECKS_FILE, "checks_*.py")

#: How code says to pytest that it ends here; none of these is an Exception.
_PYTEST_ENDINGS = (pytest.skip.Exception, pytest.fail.Exception, pytest.exit.Exception)


class RoleModule(pytest.Module):
    """A role's checks.py, or one of several files with its checks."""

    role: str
    loaded: ModuleType

    def _getobj(self) -> ModuleType:
        return self.loaded


class Collector:
    """Finds the controls of some roles and holds what was found.

    Args:
        roles: The roles, in the order in which their checks run.
        offline: Leave out the controls that need a booted system.
    """

    def __init__(self, roles: Sequence[RoleInfo], *, offline: bool = False) -> None:
        self._roles = roles
        self._offline = offline
        self._unchecked: list[str] = []
        self._errors: list[InputError] = []
        self._controls: dict[str, Control] = {}
        self.internal_error = ""
        """What broke inside pytest itself, if anything did."""

    def listing(self) -> Listing:
        """Return what was found.

        Raises:
            InputErrors: a checks.py does not load, or breaks a rule that holds for all of them.
        """
        if self._errors:
            raise InputErrors(self._errors)
        return Listing(tuple(self._controls.values()), tuple(self._unchecked))

    def control(self, item: pytest.Item) -> Control:
        """Return the control that a collected test proves."""
        return self._controls[item.nodeid]

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Fill the session with the roles' tests, in place of pytest's own search."""
        session.items = [item for role in self._roles for item in self._collect_role(session, role)]
        if self._errors:
            session.items = []
        session.testscollected = len(session.items)
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what pytest could not collect; a file that skips itself would silently prove nothing."""
        if report.outcome != "passed":
            self._errors.append(InputError(f"the checks cannot be collected: {report.longreprtext.strip()}"))

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note what broke inside pytest."""
        self.internal_error = excinfo.exconly()

    def _collect_role(self, session: pytest.Session, role: RoleInfo) -> list[pytest.Item]:
        files = [path for pattern in CHECKS_FILES for path in sorted(role.path.glob(pattern))]
        if not files:
            self._unchecked.append(role.name)
        return [item for path in files for item in self._collect_file(session, role, path)]

    def _collect_file(self, session: pytest.Session, role: RoleInfo, path: Path) -> list[pytest.Item]:
        try:
            loaded = _load(role.name, path)
        except (Exception, SystemExit, *_PYTEST_ENDINGS) as error:
            self._errors.append(_load_error(path, error))
            return []
        module = RoleModule.from_parent(session, path=path)
        module.role, module.loaded = role.name, loaded
        errors_before = len(self._errors)
        items = list(session.genitems(module))
        if not items and len(self._errors) == errors_before:
            self._errors.append(
                InputError(
                    "there is no test_* function",
                    where=Where(path),
                    hint="a role without guarantees to check has no checks.py; what checks share is no checks_*.py",
                )
            )
        for item in items:
            self._register(role.name, path, item)
        return [item for item in items if not (self._offline and self._needs_boot(item))]

    def _needs_boot(self, item: pytest.Item) -> bool:
        known = self._controls.get(item.nodeid)
        return known is not None and known.needs == "boot"

    def _register(self, role: str, path: Path, item: pytest.Item) -> None:
        test: Any = getattr(item, "obj", None)
        code = getattr(test, "__code__", None)
        where = Where(path, code.co_firstlineno if code else None, item.name)
        mark = control_of(test)
        if mark is None:
            hint = 'write @control("HF-…", "what is guaranteed", refs=[…]) above it'
            self._errors.append(InputError("the test has no control id", where=where, hint=hint))
            return
        other = next((known for known in self._controls.values() if known.id == mark.id), None)
        if other is not None:
            self._errors.append(
                InputError(
                    f"control id {mark.id} is already used in role {other.role}: {other.title}",
                    where=where,
                    hint="one control is one test function; give this one an id of its own",
                )
            )
            return
        self._controls[item.nodeid] = Control(mark.id, mark.title, mark.refs, role, mark.needs)


def _load(role: str, path: Path) -> ModuleType:
    """Load a file with checks as ``roles.<role>.checks`` without importing the role around it.

    The finders are asked one after the other because pytest's, which makes asserts explain themselves, is one of them.
    """
    name = f"roles.{role}.{path.stem}"
    specs = (finder.find_spec(name, [str(path.parent)]) for finder in sys.meta_path)
    spec = next(found for found in specs if found is not None)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if spec.loader is None:
        raise ImportError("not a Python file")
    spec.loader.exec_module(module)
    return module


def _load_error(path: Path, error: BaseException) -> InputError:
    if isinstance(error, SyntaxError):
        line = error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    if isinstance(error, InputError):
        return InputError(error.message, hint=error.hint, where=Where(path, line))
    said = error.msg if isinstance(error, (SyntaxError, *_PYTEST_ENDINGS)) else str(error)
    return InputError(f"{CHECKS_FILE} does not load: {type(error).__name__}: {said}", where=Where(path, line))
