"""The words that a role's ``checks.py`` is written with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from hatfleet.common.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

#: Control ids are stable names that auditors quote: upper case, in parts joined by hyphens, such as HF-BASE-001.
CONTROL_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)+")

_ATTRIBUTE = "__hatfleet_control__"

#: What a control may need beside the files and programs of the device: ``boot``, a running system.
Needs = Literal["boot"]


@dataclass(frozen=True)
class ControlMark:
    """What ``@control`` says about a test."""

    id: str
    title: str
    refs: tuple[str, ...]
    needs: Needs | None = None


def control(
    id: str,  # noqa: A002 - reads well in checks
    title: str,
    refs: Sequence[str] = (),
    *,
    needs: Needs | None = None,
) -> Callable[[F], F]:
    """Declare that a test proves a control.

    Args:
        id: A stable name, unique over all roles, such as ``HF-BASE-001``.
        title: The guarantee, as a sentence that is true when the test passes.
        refs: The clauses of standards and benchmarks that ask for it.
        needs: ``boot`` when only a running system can answer it (the kernel, a service, a mount), or when it is about
            what a device makes of itself; such a control is not run on a root file system that was just built.

    Raises:
        InputError: the id has another shape, the title is empty, refs is not a list of texts, or needs is unknown.
    """
    if not CONTROL_ID.fullmatch(id):
        raise InputError(f"control id {id!r} is not of the form HF-BASE-001 (upper case, parts joined by hyphens)")
    if not title.strip():
        raise InputError(f"control {id} has no title", hint="say what is guaranteed, in one sentence")
    if isinstance(refs, str) or not all(isinstance(ref, str) and ref.strip() for ref in refs):
        raise InputError(f'control {id}: refs must be a list of texts, such as refs=["ETSI EN 303 645 5.1-1"]')
    if needs not in (None, "boot"):
        raise InputError(f'control {id}: needs={needs!r} is not known; allowed is "boot", or nothing')

    def mark(test: F) -> F:
        if hasattr(test, _ATTRIBUTE):
            raise InputError(f"control {id}: the test already proves control {getattr(test, _ATTRIBUTE).id}")
        setattr(test, _ATTRIBUTE, ControlMark(id, title.strip(), tuple(refs), needs))
        return test

    return mark


def control_of(test: object) -> ControlMark | None:
    """Return what ``@control`` said about a test, or None when it was not used."""
    found = getattr(test, _ATTRIBUTE, None)
    return found if isinstance(found, ControlMark) else None


def not_applicable(reason: str) -> NoReturn:
    """End a test as not applicable, which is reported as that and never as a pass.

    Args:
        reason: Why the guarantee has no meaning on this device, for an auditor.

    Raises:
        ValueError: there is no reason (the test ends as an error).
    """
    import pytest

    if not reason.strip():
        raise ValueError("not_applicable() needs a reason")
    pytest.skip(reason)
