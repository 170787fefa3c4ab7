"""Damages: what a test breaks on a booted device, and which controls must then fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """One way to break a guarantee.

    Attributes:
        name: What is broken, for people.
        command: Run as root on the device by ``sh -c``; ``provision apply`` must be able to repair it.
        controls: Ids of the controls that must fail then.
        last: Done after all others, of whatever role: the SSH daemon does not read its settings again after it.
    """

    name: str
    command: str
    controls: tuple[str, ...]
    last: bool = False
