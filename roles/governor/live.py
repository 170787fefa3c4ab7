"""The governor that the running kernel uses."""

from __future__ import annotations

from hatfleet.ops import Command, Note, ShellRead, Steps, is_live, operation, quote

POLICIES = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"


@operation(affects=(ShellRead,))
def scaling_governor(*, governor: str) -> Steps:
    """Have every frequency domain of the running kernel use a governor; nothing to do without cpufreq or offline."""
    if not is_live():
        return
    lines = yield ShellRead(f"cat {POLICIES} 2>/dev/null || true")
    now = set(lines)
    if now <= {governor}:
        return
    yield Note("scaling_governor", f"{', '.join(sorted(now))} → {governor}")
    yield Command(f"/usr/lib/hatfleet/hatfleet-governor.sh {quote(governor)}")
