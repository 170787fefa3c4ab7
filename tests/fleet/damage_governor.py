"""Ways to damage what the role governor guarantees, on a machine without cpufreq; all can be applied together."""

from __future__ import annotations

from tests.fleet.damage import Damage

UNIT = "hatfleet-governor.service"

DAMAGE: tuple[Damage, ...] = (
    Damage(
        "the kernel argument is gone",
        "mount -o remount,rw /boot/firmware; "
        "sed -i 's/ *cpufreq.default_governor=[a-z]*//' /boot/firmware/cmdline.txt; mount -o remount,ro /boot/firmware",
        ("HF-GOV-002",),
    ),
    Damage("the service does not start at boot", f"systemctl disable {UNIT}", ("HF-GOV-004",)),
    Damage(
        "the unit sets another governor",
        f"sed -i 's/^ExecStart=.*/& powersave/' /usr/lib/systemd/system/{UNIT}",
        ("HF-GOV-005",),
    ),
    Damage("the script does nothing", "sed -i '2i exit 0' /usr/lib/hatfleet/hatfleet-governor.sh", ("HF-GOV-006",)),
    Damage("everybody can change the script", "chmod 777 /usr/lib/hatfleet/hatfleet-governor.sh", ("HF-GOV-006",)),
    Damage(
        "Raspberry Pi OS sets another governor",
        "echo 'CPU_DEFAULT_GOVERNOR=\"ondemand\"' >/etc/default/cpu_governor",
        ("HF-GOV-007",),
    ),
    Damage(
        "a drop-in takes the sandbox away",
        f"mkdir -p /etc/systemd/system/{UNIT}.d && "
        "printf '[Service]\\nProtectSystem=no\\nProtectHome=no\\nNoNewPrivileges=no\\nCapabilityBoundingSet=~\\n"
        "SystemCallFilter=\\nRestrictNamespaces=no\\nPrivateNetwork=no\\nRestrictAddressFamilies=\\n'"
        f" >/etc/systemd/system/{UNIT}.d/override.conf && systemctl daemon-reload",
        ("HF-GOV-005", "HF-GOV-008"),
    ),
)
