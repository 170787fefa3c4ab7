"""Debian releases that images are made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """A release by its code name."""

    name: str
    epoch_s: int
    """Time that no file in an image is younger than, seconds since 1970, so that building later changes nothing."""


#: Releases by code name; the epoch is the day of the release (https://www.debian.org/releases/).
SUITES = {suite.name: suite for suite in (Suite("trixie", epoch_s=1754697600),)}
