"""The versions that must agree: HailoRT refuses to work when two of them differ in any of their three numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata

from hatserve.accelerator.identify import ENVIRONMENT
from hatserve.accelerator.kinds import Kind
from hatserve.system import System, run

#: How long dpkg-query and ``hailortcli --version``, which ask no device, may take, in seconds.
_TIMEOUT_S = 10.0

#: The Python distribution that the bindings come as.
_DISTRIBUTION = "hailort"


@dataclass(frozen=True)
class Versions:
    """Versions as three numbers, such as ``5.1.1``; None where there is nothing."""

    driver: str | None
    firmware: str | None
    """Of the firmware that runs on the chip."""
    library: str | None
    command_line: str | None
    bindings: str | None

    def known(self) -> dict[str, str]:
        """Return those that there are, by what they belong to."""
        values = {field.name.replace("_", " "): getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def equal(self) -> bool | None:
        """Whether they are all the same; None when there are not two to compare."""
        known = self.known()
        return len(set(known.values())) == 1 if len(known) > 1 else None

    @property
    def odd(self) -> tuple[str, ...]:
        """Those that differ from the version that most have; all of them when no version has a majority."""
        known = self.known()
        if self.equal is not False:
            return ()
        (common, count), *_ = Counter(known.values()).most_common()
        if count * 2 <= len(known):
            return tuple(known)
        return tuple(name for name, value in known.items() if value != common)


def find_versions(system: System, kind: Kind, firmware: str | None) -> Versions:
    """Return the versions of everything that belongs to a kind.

    Args:
        system: The system to look at.
        kind: The accelerator.
        firmware: What the chip said.
    """
    return Versions(
        driver=_numbers(system.text(f"/sys/module/{kind.module}/version")),
        firmware=firmware,
        library=_package(system, kind.libraries),
        command_line=_command_line() if kind.coupled else None,
        bindings=_bindings(system, kind) if kind.coupled else None,
    )


def _numbers(text: str | None) -> str | None:
    found = re.search(r"\d+\.\d+\.\d+|\d+\.\d+", text or "")
    return found[0] if found else None


def _package(system: System, names: Sequence[str]) -> str | None:
    """Return the version of the first of some Debian packages that is installed."""
    show = "${Package} ${db:Status-Status} ${Version}\\n"
    query = ["dpkg-query", f"--admindir={system.path('/var/lib/dpkg')}", "-W", "-f", show, *names]
    lines = (line.split(" ", 2) for line in run(query, _TIMEOUT_S).output.splitlines())
    installed = {words[0]: words[2] for words in lines if words[1:2] == ["installed"]}
    found = next((installed[name] for name in names if name in installed), None)
    return found and _numbers(found.rpartition(":")[2])


def _command_line() -> str | None:
    return _numbers(run(["hailortcli", "--version"], _TIMEOUT_S, ENVIRONMENT).output)


def _bindings(system: System, kind: Kind) -> str | None:
    try:
        return _numbers(metadata.version(_DISTRIBUTION))
    except metadata.PackageNotFoundError:
        return _package(system, kind.bindings)
