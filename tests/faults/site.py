"""A throw-away site whose one role writes files of many sizes, with contents that tell their version.

Every line of a file names the file, the version and its own number: a part of a file, or a mixture of two versions,
is never equal to a whole one.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hatfleet.fleet.job import Connection
from hatfleet.fleet.known_hosts import keys_of
from hatfleet.fleet.ssh import host_id

#: The folder on the device that belongs to the role.
FOLDER = "/var/lib/hatfleet-faults"
LINK = f"{FOLDER}/current"
#: Made by the command that follows a change of CONFIG, as a restarted service would read it.
CONFIG = f"{FOLDER}/05-config"
APPLIED = f"{FOLDER}.applied"
#: Number of lines and mode of every file. The large ones take a while on the line, so that it is cut within them.
FILES = {
    f"{FOLDER}/01-short": (1, "0644"),
    f"{FOLDER}/02-secret": (20, "0600"),
    f"{FOLDER}/03-long": (3000, "0644"),
    f"{FOLDER}/04-program": (300, "0755"),
    CONFIG: (40, "0644"),
    f"{FOLDER}/06-longest": (8000, "0640"),
    f"{FOLDER}/sub/07-deep": (100, "0644"),
    f"{FOLDER}/sub/08-last": (5, "0600"),
}


def content(path: str, version: int, lines: int) -> str:
    """Return the content of a file in a version."""
    return "".join(f"{path} version {version} line {number}\n" for number in range(lines))


def link_target(version: int) -> str:
    """Return where the link points in a version."""
    return f"version-{version}"


def digest(path: str, version: int) -> str:
    """Return the SHA-256 of a file in a version."""
    return hashlib.sha256(content(path, version, FILES[path][0]).encode()).hexdigest()


_SETTINGS = '''\
from hatfleet.fleet.settings import RoleSettings


class Settings(RoleSettings):
    version: int
    """The version of all contents."""
'''

_ROLE = f'''\
"""Files of one version."""
from hatfleet import ops

FILES = {FILES!r}


{inspect.getsource(content)}

def device(settings, context):
    ops.directory(name="folder", path={FOLDER!r})
    ops.directory(name="sub", path="{FOLDER}/sub")
    written = {{}}
    for path, (lines, mode) in FILES.items():
        text = content(path, settings.version, lines)
        written[path] = ops.file(name=path, path=path, content=text, mode=mode)
    ops.link(name="link", path={LINK!r}, target=f"version-{{settings.version}}")
    ops.on_change(name="follow", triggers=[written[{CONFIG!r}]], command="cp {CONFIG} {APPLIED}")
'''

_CHECKS = f"""\
import hashlib

from hatfleet.compliance import control

FILES = {FILES!r}


{inspect.getsource(content)}

@control("FAULTS-001", "Every file is whole and of the declared version")
def test_files(host, settings):
    for path, (lines, mode) in FILES.items():
        wanted = hashlib.sha256(content(path, settings.version, lines).encode()).hexdigest()
        assert host.check_output(f"sha256sum <{{path}}").split()[0] == wanted, path
        assert host.file(path).mode == int(mode, 8), path


@control("FAULTS-002", "The link points to the declared version")
def test_link(host, settings):
    assert host.check_output("readlink {LINK}") == f"version-{{settings.version}}"
"""


@dataclass(frozen=True)
class FaultSite:
    """The site, in a folder; its inventories are ``direct`` and ``faulty``, the latter through a proxy's ports.

    Args:
        folder: An empty folder.
        devices: How to reach each device; all on 127.0.0.1.
        proxy_ports: The proxy's port for each of them, in the same order.
    """

    folder: Path
    devices: Mapping[str, Connection]
    proxy_ports: tuple[int, ...]

    def write(self, version: int) -> None:
        """Write everything, declaring this version."""
        role = self.folder / "roles" / "faults"
        for path, text in {
            role / "__init__.py": _ROLE,
            role / "settings.py": _SETTINGS,
            role / "checks.py": _CHECKS,
            self.folder / "deploys" / "site.py": 'ROLES = ("faults",)\n',
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        ports = {name: connection.port for name, connection in self.devices.items()}
        self._write_inventory("direct", version, ports)
        self._write_inventory("faulty", version, dict(zip(ports, self.proxy_ports, strict=True)))

    def _write_inventory(self, name: str, version: int, ports: Mapping[str, int]) -> None:
        folder = self.folder / "inventory" / name
        folder.mkdir(parents=True, exist_ok=True)
        hosts, known = {}, []
        for host, connection in self.devices.items():
            hosts[host] = {
                "ansible_host": connection.address,
                "ansible_port": ports[host],
                "ansible_user": connection.user,
                "ansible_become": connection.become,
            }
            if connection.key_file is not None:
                hosts[host]["ansible_ssh_private_key_file"] = str(connection.key_file)
            keys = keys_of(connection.known_hosts, host_id(connection)).lookup(host_id(connection))
            at = host_id(connection.model_copy(update={"port": ports[host]}))
            known += [f"{at} {key.get_name()} {key.get_base64()}\n" for key in keys.values()] if keys else []
        variables = {"faults": {"version": version}}
        # JSON is YAML.
        (folder / "hosts.yaml").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}, indent=1))
        (folder / "known_hosts").write_text("".join(known))
