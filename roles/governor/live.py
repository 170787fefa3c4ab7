"""The governor that the running kernel uses."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops import is_live, note_change, query, quote
from hatfleet.ops.base import Commands

POLICIES = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"


@operation()
def scaling_governor(*, governor: str) -> Commands:
    """Have every frequency domain of the running kernel use a governor; nothing to do without cpufreq or offline."""
    if not is_live():
        return
    now = set(query(f"cat {POLICIES} 2>/dev/null || true"))
    if now <= {governor}:
        return
    note_change("scaling_governor", f"{', '.join(sorted(now))} → {governor}")
    yield StringCommand(f"/usr/lib/hatfleet/hatfleet-governor.sh {quote(governor)}")
