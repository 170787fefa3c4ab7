"""Ways to damage what the role accelerator guarantees, on a machine without one; all can be applied together."""

from __future__ import annotations

from tests.fleet.damage import Damage

RULES = "90-hatfleet-accelerator.rules"
SERVICE, TIMER = "hatfleet-accelerator.service", "hatfleet-accelerator.timer"

DAMAGE: tuple[Damage, ...] = (
    Damage(
        "everybody may open the chip",
        f"sed -i 's/0660/0666/' /usr/lib/udev/rules.d/{RULES} && udevadm control --reload",
        ("HF-ACC-001",),
    ),
    Damage(
        "another file takes the place of the rules",
        f": >/etc/udev/rules.d/{RULES} && udevadm control --reload",
        ("HF-ACC-001",),
    ),
    Damage("the group is gone", "groupdel hailo", ("HF-ACC-002",)),
    Damage(
        "hatserve is told that there is a chip",
        """printf '{"kind": "hailo10h"}\\n' >/etc/hatserve/accelerator.json""",
        ("HF-ACC-004",),
    ),
    Damage("nobody looks after the chip", f"systemctl disable --now {TIMER}", ("HF-ACC-006",)),
    Damage(
        "the recovery runs something else, with all rights",
        f"mkdir -p /etc/systemd/system/{SERVICE}.d && "
        "printf '[Service]\\nExecStart=\\nExecStart=/bin/true\\nProtectSystem=no\\nNoNewPrivileges=no\\n"
        "CapabilityBoundingSet=~\\nSystemCallFilter=\\nRestrictAddressFamilies=\\nPrivateNetwork=no\\n"
        "RestrictNamespaces=no\\nProtectKernelModules=no\\nDevicePolicy=auto\\nDeviceAllow=\\n'"
        f" >/etc/systemd/system/{SERVICE}.d/override.conf && systemctl daemon-reload",
        ("HF-ACC-006", "HF-ACC-008"),
    ),
    Damage(
        "the unit of the recovery is another one",
        f"echo '# changed' >>/usr/lib/systemd/system/{SERVICE} && systemctl daemon-reload",
        ("HF-ACC-007",),
    ),
    Damage("HailoRT writes its log", "rm /etc/profile.d/hatfleet-accelerator.sh", ("HF-ACC-009",)),
    Damage(
        "the module would get other parameters",
        "echo 'options hailo1x_pci no_power_mode=Y' >>/etc/modprobe.d/hatfleet-accelerator.conf",
        ("HF-ACC-010",),
    ),
    Damage(
        "the library's own service could run",
        "systemctl unmask hailort.service",
        ("HF-ACC-016",),
    ),
)
