"""What is on a device, read over a connection of our own, and what is wrong with it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hatfleet.fleet.job import Connection
from hatfleet.fleet.ssh import open_client, run_command
from tests.faults.site import APPLIED, CONFIG, FILES, FOLDER, LINK, digest, link_target

#: How long what was started on a device may go on after its operator is gone, seconds.
SETTLE_LIMIT_S = 10.0
SETTLE_STEP_S = 0.3

_SCRIPT = f"""\
find {FOLDER} -type f -printf 'mode %p %m\\n' 2>/dev/null
find {FOLDER} -type f -exec sha256sum {{}} + 2>/dev/null | while read -r sum path; do echo "sum $path $sum"; done
find {FOLDER} -type l -printf 'link %p %l\\n' 2>/dev/null
find {FOLDER} -type d -printf 'folder %p -\\n' 2>/dev/null
[ ! -e {APPLIED} ] || echo "applied {APPLIED} $(sha256sum <{APPLIED} | cut -d ' ' -f 1)"
"""


@dataclass(frozen=True)
class Look:
    """What the role's folder on a device holds: kind and path of everything, with mode, digest or target."""

    found: frozenset[tuple[str, str, str]]

    def value(self, kind: str, path: str) -> str | None:
        """Return the mode, sum or target of a path."""
        return next((value for k, p, value in self.found if (k, p) == (kind, path)), None)

    @property
    def strays(self) -> list[str]:
        """Everything in the folder that nobody declared: temporary files."""
        known = {*FILES, LINK, FOLDER, f"{FOLDER}/sub", APPLIED}
        return sorted({path for _, path, _ in self.found} - known)

    def broken(self, *versions: int) -> list[str]:
        """Return what is not whole: a file, mode or link that belongs to none of the versions."""
        wrong = []
        for path, (_, mode) in FILES.items():
            if self.value("sum", path) not in {digest(path, version) for version in versions}:
                wrong.append(f"{path} is {'missing' if self.value('sum', path) is None else 'not whole'}")
            elif int(self.value("mode", path) or "0", 8) != int(mode, 8):
                wrong.append(f"{path} has mode {self.value('mode', path)}")
        if self.value("link", LINK) not in {link_target(version) for version in versions}:
            wrong.append(f"{LINK} points to {self.value('link', LINK)}")
        return wrong

    def of_version(self, version: int) -> int:
        """Return how many of the files are of this version."""
        return sum(self.value("sum", path) == digest(path, version) for path in FILES)

    def follows(self, version: int) -> bool:
        """Whether the command that follows a change of the configuration ran for this version."""
        return self.value("applied", APPLIED) == digest(CONFIG, version)


def look(connection: Connection) -> Look:
    """Look at a device.

    Raises:
        UnreachableError: it cannot be reached.
    """
    client = open_client(connection)
    try:
        output = run_command(client, f"{'sudo -n ' if connection.become else ''}sh -s", _SCRIPT.encode())
    finally:
        client.close()
    rows = (line.split(" ", 2) for line in output.stdout.decode().splitlines())
    return Look(frozenset((kind, path, value) for kind, path, value in rows))


def look_when_settled(connection: Connection) -> Look:
    """Look at a device until two looks are the same and leave nothing open, or the limit has passed."""
    deadline = time.monotonic() + SETTLE_LIMIT_S
    last = look(connection)
    while True:
        time.sleep(SETTLE_STEP_S)
        now = look(connection)
        if (now == last and not now.strays) or time.monotonic() > deadline:
            return now
        last = now
