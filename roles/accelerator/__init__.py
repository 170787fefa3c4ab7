"""The accelerator for models works as declared, with one set of software whose versions fit together, or there is none.

Guarantees (each proved by a control in checks.py or checks_stack.py):

- driver, firmware, library and bindings are of one version, the locked one, and stay so when all else is upgraded;
- packages of two families are never mixed; a driver that is known not to build for the kernel is refused;
- in an image the kernel module was compiled for the image's kernel: a device needs no compiler (``modules``);
- the device's nodes open for root and the group ``hailo`` only, whatever the packages' own rules say;
- the module bound to the chip is the declared one, with the declared parameters, on a link of the declared speed;
- a chip that does not answer any more is brought back, a bounded number of times;
- HailoRT writes no log file: on a read-only root it would fail to.

Without an accelerator (``none``) nothing of it is installed, and models run on the CPU.
"""

from __future__ import annotations

from pathlib import Path

from hatfleet.fleet.roles import KernelDriver
from hatfleet.ops import absent, directory, file, on_change, packages_absent, unit
from roles.accelerator.operations import options_file, stack, status_file, system_group, usable_stack
from roles.accelerator.settings import DRIVER_SOURCE, DRIVER_TEMPLATE, FAMILIES, METAPACKAGES, STACKS, Settings

FILES = Path(__file__).parent / "files"

GROUP = "hailo"
RULES = "/usr/lib/udev/rules.d/90-hatfleet-accelerator.rules"
OPTIONS = "/etc/modprobe.d/hatfleet-accelerator.conf"
STATUS = "/etc/hatserve/accelerator.json"
SERVICE, TIMER = "hatfleet-accelerator.service", "hatfleet-accelerator.timer"
MANAGER, LOGINS = "/etc/systemd/system.conf.d/30-hatfleet-accelerator.conf", "/etc/profile.d/hatfleet-accelerator.sh"

#: Of the library's package: shares a chip between programs, as root. Models are run by one program here.
SHARING = "hailort.service"


def packages(settings: Settings) -> list[str]:
    """Return the library's and the bindings' packages; a Hailo driver's is not installed like any other."""
    return [name for name in settings.packages_of(settings.kind) if not _is_driver(name)]


def modules(settings: Settings) -> list[KernelDriver]:
    """Return the driver to compile for an image's kernel."""
    if settings.kind not in STACKS:
        return []
    known = STACKS[settings.kind]
    package, _, version = settings.packages_of(settings.kind)[0].partition("=")
    limits = settings.unfit(settings.kind)
    return [
        KernelDriver(
            package=package,
            version=version,
            source=DRIVER_SOURCE,
            name=known.module,
            release=settings.driver_release(settings.kind),
            modules=(known.module,),
            template=DRIVER_TEMPLATE,
            kernel_limit=limits[0].kernel if limits else None,
            limit_reason=limits[0].reason if limits else "",
        )
    ]


def refused(settings: Settings) -> dict[str, str]:
    """Return the packages that an image with these settings must not name, and why."""
    both = "hailo-all and hailo-h10-all cannot be installed together"
    reasons = {
        name: f"it belongs to {family}, and accelerator.kind is {settings.kind}; {both}"
        for family, names in FAMILIES.items()
        for name in names
        if family != settings.kind
    }
    choice = "it lets apt choose the versions; accelerator.kind names the packages and locks them"
    return {**reasons, **{name: choice for name in METAPACKAGES if name not in reasons}}


def image(settings: Settings) -> None:
    """Declare the accelerator; it is the same on every device of an image."""
    kind = settings.kind
    wanted = {name: settings.packages_of(name) for name in ("hailo10h", "hailo8", "coral")}
    usable_stack(
        name="accelerator's software fits together",
        kind=kind,
        families=FAMILIES,
        wanted=wanted,
        unfit={name: [(*one.kernel, one.reason) for one in settings.unfit(name)] for name in STACKS},
    )
    if kind == "none":
        packages_absent(name="nothing of an accelerator", names=settings.foreign_to(kind))
    stack(name="accelerator's packages", kind=kind, wanted=wanted)
    _nodes()
    options = {
        name: f"options {known.module} {' '.join(_parameters(settings.options_of(name)))}\n"
        for name, known in STACKS.items()
        if settings.options_of(name)
    }
    options_file(name="parameters of the kernel module", kind=kind, path=OPTIONS, lines=options)
    _environment()
    # Starting it would only make it wait for a chip that our own program holds.
    unit(name="nothing else shares the chip", unit_name=SHARING, enabled=None, masked=True)
    directory(name="folder of hatserve's settings", path="/etc/hatserve")
    status_file(
        name="what the device is meant to have",
        kind=kind,
        path=STATUS,
        values={
            "link_speed_gts": settings.link_speed_gts,
            "link_width": settings.link_width,
            "max_reboots_per_day": settings.max_reboots_per_day,
            "probe_attempts": settings.probe_attempts,
        },
    )
    _recovery()


def _is_driver(name: str) -> bool:
    return name.partition("=")[0] in {known.parts["driver"].package for known in STACKS.values()}


def _parameters(options: dict[str, int | bool]) -> list[str]:
    return [f"{name}={'NY'[value] if isinstance(value, bool) else value}" for name, value in options.items()]


def _nodes() -> None:
    system_group(name="group of the accelerator", group=GROUP)
    rules = file(name="rights of the device's nodes", path=RULES, content=(FILES / Path(RULES).name).read_text())
    # A file of that name under /etc would take the place of ours.
    shadow = absent(name="nothing in place of these rules", path=f"/etc/udev/rules.d/{Path(RULES).name}")
    subsystems = " ".join(f"--subsystem-match={name}" for name in ("apex", "hailo1x", "hailo_chardev", "usb"))
    on_change(
        name="the rules take effect",
        triggers=[rules, shadow],
        command=f"udevadm control --reload && udevadm trigger --action=change {subsystems}",
    )


def _environment() -> None:
    manager = file(name="environment of services", path=MANAGER, content=(FILES / "manager.conf").read_text())
    on_change(name="services get it", triggers=[manager], command="systemctl daemon-reload")
    file(name="environment of logins", path=LOGINS, content=(FILES / "profile.sh").read_text())


def _recovery() -> None:
    changed = []
    for name in (SERVICE, TIMER):
        changed.append(
            file(name=f"unit {name}", path=f"/usr/lib/systemd/system/{name}", content=(FILES / name).read_text())
        )
        # Somebody's copy or drop-in under /etc would win over the unit.
        changed.append(absent(name=f"no copy of {name}", path=f"/etc/systemd/system/{name}"))
        changed.append(absent(name=f"no drop-in for {name}", path=f"/etc/systemd/system/{name}.d"))
    # Never started by this: systemd reads it anew when it was changed.
    unit(name="unit of the recovery", unit_name=SERVICE, enabled=None)
    unit(name="recovery of the accelerator", unit_name=TIMER, enabled=True, running=True)
    on_change(name="new timer takes effect", triggers=changed, command=f"systemctl restart {TIMER}")
