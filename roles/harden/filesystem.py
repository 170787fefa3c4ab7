"""Rights on files."""

from __future__ import annotations

from roles.harden.operations import rights, setid_programs
from roles.harden.settings import Files


def apply(settings: Files) -> None:
    """Set owner and mode where they matter; take set-id bits from all but the allowed programs."""
    rights(paths=settings.rights(), name="owner and mode")
    setid_programs(allowed=settings.setid_allowed, name="set-id programs")
