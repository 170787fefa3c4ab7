"""The CPU frequency governor is the declared one, from the first moment of boot on.

Guarantees (each proved by a control in checks.py):

- the kernel starts with it (``cpufreq.default_governor`` on its command line);
- a unit sets it again for every frequency domain, after whatever else Raspberry Pi OS starts that would change it;
- every domain of the running kernel uses it. A machine without cpufreq, such as a virtual one, has no domain.
"""

from __future__ import annotations

from pathlib import Path

from hatfleet.ops import absent, directory, file, kernel_args, on_change, render, unit
from roles.governor.live import scaling_governor
from roles.governor.settings import Settings

SCRIPT = "/usr/lib/hatfleet/hatfleet-governor.sh"
UNIT = "hatfleet-governor.service"


def image(settings: Settings) -> None:
    """Declare the governor; it is the same on every device."""
    governor = settings.scaling_governor
    kernel_args(name="governor from boot on", present=[f"cpufreq.default_governor={governor}"])
    # Raspberry Pi OS's raspi-config sets a governor late in the boot and takes it from this file.
    file(
        name="governor of raspi-config",
        path="/etc/default/cpu_governor",
        content=f'# Written by hatfleet (role governor).\nCPU_DEFAULT_GOVERNOR="{governor}"\n',
    )
    directory(name="folder of hatfleet's scripts", path="/usr/lib/hatfleet")
    script = file(
        name="governor script",
        path=SCRIPT,
        content=(Path(__file__).parent / "files" / "hatfleet-governor.sh").read_text(),
        mode="0755",
        validate="sh -n %s",
    )
    changed = file(
        name="governor unit",
        path=f"/usr/lib/systemd/system/{UNIT}",
        content=render(role_file=__file__, template="hatfleet-governor.service.j2", governor=governor),
    )
    # Somebody's copy or drop-in under /etc would win over the unit.
    copied = absent(name="no copy of the governor unit", path=f"/etc/systemd/system/{UNIT}")
    dropped = absent(name="no drop-in for the governor unit", path=f"/etc/systemd/system/{UNIT}.d")
    unit(name="governor service", unit_name=UNIT, enabled=True, running=True)
    on_change(
        name="new governor unit takes effect",
        triggers=[script, changed, copied, dropped],
        command=f"systemctl restart {UNIT}",
    )
    scaling_governor(name="running governor", governor=governor)
