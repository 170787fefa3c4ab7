"""Ways to damage what the role runtimes guarantees on a running device; all can be applied together."""

from __future__ import annotations

from tests.fleet.damage import Damage

PACKAGES = "/opt/hatserve/lib/python3.13/site-packages"

DAMAGE: tuple[Damage, ...] = (
    Damage("a module is altered", f"echo 'x = 1' >>{PACKAGES}/hatserve/errors.py", ("HF-RUN-001",)),
    Damage("a module is gone", f"rm {PACKAGES}/hatserve/cli/main.py", ("HF-RUN-001", "HF-RUN-009")),
    Damage("a module is there that nobody declared", f"echo >{PACKAGES}/stray.py", ("HF-RUN-001",)),
    Damage(
        "another version of a package pretends to be there",
        f"mv {PACKAGES}/tqdm-*.dist-info {PACKAGES}/tqdm-0.1.dist-info",
        ("HF-RUN-001", "HF-RUN-002"),
    ),
    Damage("something that installs packages is there", f"mkdir {PACKAGES}/pip", ("HF-RUN-003",)),
    Damage("everybody can change a module", f"chmod 666 {PACKAGES}/numpy/__init__.py", ("HF-RUN-005",)),
    Damage(
        "onnxruntime's telemetry is on in the environment",
        f"rm {PACKAGES}/hatfleet_telemetry.pth",
        ("HF-RUN-001", "HF-RUN-006", "HF-RUN-010"),
    ),
    Damage(
        "services and logins have telemetry on",
        "rm /etc/systemd/system.conf.d/50-hatfleet-runtimes.conf /etc/profile.d/50-hatfleet-runtimes.sh; "
        "systemctl daemon-reload",
        ("HF-RUN-007", "HF-RUN-008"),
    ),
)
