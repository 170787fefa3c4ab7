"""How a run goes over the fleet: in which stages, and when it stops because too much has failed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hatfleet.common.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Amount:
    """A number of hosts, or a percentage of the hosts that a run has chosen."""

    value: int
    percent: bool = False

    def of(self, hosts: int) -> int:
        """Return how many of ``hosts`` that is: a percentage is rounded up, and is at least one host."""
        return max(1, math.ceil(hosts * self.value / 100)) if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True)
class Rollout:
    """The stages of a run, and how many hosts may fail in it.

    Args:
        serial: Size of each stage; the last one repeats until no host is left. Empty: one stage with all hosts.
        max_fail: How many hosts may fail or be unreachable in the whole run before no further host is started.
    """

    serial: tuple[Amount, ...] = ()
    max_fail: Amount | None = None

    def stages(self, hosts: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the hosts of each stage, in order; percentages are of all ``hosts``, not of those that are left."""
        start, number = 0, 0
        while start < len(hosts):
            amount = self.serial[min(number, len(self.serial) - 1)] if self.serial else Amount(len(hosts))
            size = amount.of(len(hosts))
            yield hosts[start : start + size]
            start, number = start + size, number + 1


def parse_serial(text: str) -> tuple[Amount, ...]:
    """Read ``--serial``: ``5``, ``10%`` or a list of them, ``1,10%,100%``, with or without brackets.

    Raises:
        InputError: not of that form, or a stage without hosts.
    """
    inner = re.fullmatch(r"\s*\[(.*)\]\s*", text)
    return tuple(_amount(part, "--serial", least=1) for part in (inner.group(1) if inner else text).split(","))


def parse_max_fail(text: str) -> Amount:
    """Read ``--max-fail``: ``0``, ``3`` or ``10%``.

    Raises:
        InputError: not of that form.
    """
    return _amount(text, "--max-fail", least=0)


def _amount(text: str, option: str, *, least: int) -> Amount:
    match = re.fullmatch(r"\s*(\d{1,9})\s*(%?)\s*", text, re.ASCII)
    form = f"a number of hosts from {least}, or a percentage from 1% to 100%"
    if not match:
        example = "--serial 1,10%,100%" if option == "--serial" else "--max-fail 2"
        raise InputError(f"{option}: {text.strip() or 'nothing'!r} is not {form}", hint=f"for example: {example}")
    amount = Amount(int(match.group(1)), bool(match.group(2)))
    if amount.percent and not 1 <= amount.value <= 100:
        hint = "to stop at the first failure: --max-fail 0" if option == "--max-fail" else None
        raise InputError(f"{option}: {amount} is not {form}", hint=hint)
    if amount.value < least:
        raise InputError(f"{option}: {amount} is not {form}", hint="leave --serial out to start all hosts at once")
    return amount
