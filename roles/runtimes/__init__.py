"""What models run with: onnxruntime, LiteRT and hatserve, in one Python environment at /opt/hatserve.

Guarantees (each proved by a control in checks.py):

- every file is the one that a wheel of the lock brought, or was compiled from it; no other is there;
- there is no pip in it, and no compiler on an image: nothing can be installed or built on a device;
- only root can change it;
- the runtimes load and run a model;
- onnxruntime's telemetry is off however a program is started, and no packet leaves while a model runs.

The environment is put together on the admin's side (hatfleet/runtimes/); a device needs no network and no pip.
"""

from __future__ import annotations

from hatfleet.common.site import active_site
from hatfleet.ops import directory, file, on_change, quote, require, tree
from hatfleet.runtimes.compose import PREFIX, TELEMETRY_VARIABLE
from hatfleet.runtimes.environment import FINISH, Environment, declared
from hatfleet.runtimes.target import Target
from roles.runtimes.settings import Settings

#: What wheels and processes of the device must agree on, and what /usr/bin/python3 is a link to.
_FACTS = (
    "v=$(readlink /usr/bin/python3) || exit 0; a=$(dpkg --print-architecture); "
    '[ "$a $v" = "{arch} python{python}" ] || echo "$v on $a"'
)

#: Where processes take the variable from that turns telemetry off, beside the environment itself.
SERVICES = "/etc/systemd/system.conf.d/50-hatfleet-runtimes.conf"
USER_SERVICES = "/etc/environment.d/50-hatfleet-runtimes.conf"
LOGINS = "/etc/profile.d/50-hatfleet-runtimes.sh"

_HEAD = "# Written by hatfleet (role runtimes).\n"


def packages(settings: Settings) -> list[str]:  # noqa: ARG001  # every role has this signature
    """Return the Debian packages that the role needs."""
    return ["iproute2", "libstdc++6", "python3", "util-linux"]


def environments(settings: Settings) -> list[Environment]:
    """Return the Python environments that the role lays down.

    Raises:
        InputError: there is no lock for the device, or it is older than what hatserve requires.
    """
    return [declared(active_site(), Target(settings.arch, settings.python), settings.backends)]


def image(settings: Settings) -> None:
    """Declare the environment; it is the same on every device."""
    (environment,) = environments(settings)
    require(
        name="the device's Python",
        script=_FACTS.format(arch=settings.arch, python=settings.python),
        message=f"the wheels are for {environment.target}, this device has {{found}}: "
        "set runtimes.arch and runtimes.python, and lock wheels for them (provision runtimes lock)",
    )
    tree(
        name="Python environment",
        path=PREFIX,
        archive=environment,
        # The device's own interpreter compiles; an image gets the tree compiled before this is looked at.
        finish=f'/usr/bin/python3 -I -c {quote(FINISH.read_text())} "$new" {PREFIX}',
    )
    _no_telemetry()


def _no_telemetry() -> None:
    """Turn telemetry off for every process; the environment does so for those that run in it."""
    line = f"{TELEMETRY_VARIABLE}=1\n"
    directory(name="settings of services", path="/etc/systemd/system.conf.d")
    services = file(
        name="no telemetry of services", path=SERVICES, content=f"{_HEAD}[Manager]\nDefaultEnvironment={line}"
    )
    directory(name="settings of users' services", path="/etc/environment.d")
    file(name="no telemetry of users' services", path=USER_SERVICES, content=f"{_HEAD}{line}")
    file(name="no telemetry of logins", path=LOGINS, content=f"{_HEAD}export {line}")
    on_change(name="services learn of it", triggers=[services], command="systemctl daemon-reload")
