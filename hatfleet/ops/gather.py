"""Many reads in one command: the shell script that makes them, and what its output means.

Reads of the same kind share their programs: one ``find`` for all paths, one ``sha256sum`` for all contents, one
``dpkg-query``, one ``systemctl``. Every part of the output ends with a line that nothing on the target can know.
"""

from __future__ import annotations

import base64
import secrets
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hatfleet.ops.reads import (
    FollowUpsRead,
    PackagesRead,
    PackageState,
    PathRead,
    PathState,
    Read,
    ScriptRead,
    TextRead,
    UnitRead,
    UnitState,
)
from hatfleet.ops.steps import OperationError

_UNIT_PROPERTIES = "Names,LoadState,UnitFileState,ActiveState,ConditionResult,ConditionTimestampMonotonic"
_FIND_TYPES = {"f": "file", "d": "directory", "l": "link"}


@dataclass(frozen=True)
class Failed:
    """The answer of a read that failed."""

    why: str


@dataclass(frozen=True)
class Section:
    """A part of a script's output: which it is, how it ended, what it printed."""

    key: str
    status: int
    words: tuple[str, ...]
    output: bytes


def new_mark() -> str:
    """Return a word that no output can contain by chance or on purpose."""
    return f"hatfleet-{secrets.token_hex(12)}"


def section(mark: str, key: str, script: str) -> str:
    """Return a script whose output is a section; whatever it does to its shell stays with it."""
    return f"( {script}\n) </dev/null\nprintf '\\n%s {key} %s\\n' {mark} $?\n"


def sections(output: bytes, mark: str) -> Iterator[Section]:
    """Take a script's output apart."""
    start = 0
    sign = f"\n{mark} ".encode()
    while (found := output.find(sign, start)) >= 0:
        end = output.index(b"\n", found + 1)
        key, status, *words = output[found + len(sign) : end].decode().split()
        yield Section(key, int(status), tuple(words), output[start:found])
        start = end + 1


class Gathering:
    """One command that makes several reads.

    Args:
        reads: What to read; equal reads are made once.
        live: Whether the target is a running system.
    """

    def __init__(self, reads: Iterable[Read], *, live: bool) -> None:
        self._live = live
        unique = dict.fromkeys(reads)
        self._paths = [read for read in unique if isinstance(read, PathRead)]
        self._units = [read for read in unique if isinstance(read, UnitRead)]
        self._packages = [read for read in unique if isinstance(read, PackagesRead)]
        self._texts = [read for read in unique if isinstance(read, TextRead)]
        self._follow_ups = [read for read in unique if isinstance(read, FollowUpsRead)]
        self._shells = [read for read in unique if isinstance(read, ScriptRead)]

    def script(self, mark: str) -> str:
        """Return the shell script."""
        parts: dict[str, str] = {}
        if self._paths:
            parts["paths"] = _paths_script(self._paths)
        if any(read.content for read in self._paths):
            parts["sums"] = _sums_script(self._paths)
        if self._packages:
            names = sorted({name for read in self._packages for name in read.names})
            show = "'${binary:Package} ${db:Status-Status} ${db:Status-Want} ${Version}\\n'"
            parts["packages"] = f"dpkg-query -W -f {show} {shlex.join(names)} 2>/dev/null; true"
        if self._units:
            parts["units"] = _units_script(self._units, live=self._live)
        if self._follow_ups:
            files = shlex.join(read.file for read in self._follow_ups)
            parts["follow-ups"] = f"cat {files} 2>/dev/null; true"
        for number, text in enumerate(self._texts):
            parts[f"text{number}"] = f"base64 {shlex.quote(text.path)}"
        for number, shell in enumerate(self._shells):
            parts[f"shell{number}"] = shell.script
        return "".join(section(mark, key, script) for key, script in parts.items())

    def answers(self, output: bytes, mark: str, said: str = "") -> dict[Read, Any]:
        """Return the answer to every read.

        Args:
            output: What the script printed.
            mark: The mark that the script was made with.
            said: What the script printed on its standard error.

        Raises:
            OperationError: a part of the answer is missing.
        """
        found = {part.key: part for part in sections(output, mark)}
        try:
            return dict(self._answers(found, said))
        except KeyError as missing:
            raise OperationError(f"could not read the state of the target: no {missing} in the answer {said}") from None

    def _answers(self, found: dict[str, Section], said: str) -> Iterator[tuple[Read, Any]]:
        if self._paths:
            states = _parse_paths(found["paths"].output)
            sums = _parse_sums(found["sums"].output) if any(read.content for read in self._paths) else {}
            for path in self._paths:
                yield path, _path_state(states.get(path.path), sums.get(path.path, ""))
        if self._packages:
            known = _parse_packages(_lines(found["packages"].output))
            for packages in self._packages:
                yield packages, {name: known[name] for name in packages.names if name in known}
        if self._units:
            units = _parse_units(_lines(found["units"].output), live=self._live)
            for unit in self._units:
                yield unit, units.get(unit.name, UnitState(""))
        for follow_ups in self._follow_ups:
            yield follow_ups, frozenset(_lines(found["follow-ups"].output))
        for number, text in enumerate(self._texts):
            part = found[f"text{number}"]
            yield text, Failed(said) if part.status else base64.b64decode(part.output)
        for number, shell in enumerate(self._shells):
            part = found[f"shell{number}"]
            yield shell, Failed(said or f"exit status {part.status}") if part.status else _lines(part.output)


def _lines(output: bytes) -> list[str]:
    return output.decode(errors="replace").splitlines()


def _paths_script(reads: list[PathRead]) -> str:
    names = shlex.join(sorted({read.path for read in reads}))
    return f"find {names} -maxdepth 0 -printf '%y\\0%m\\0%u\\0%g\\0%s\\0%l\\0%p\\0' 2>/dev/null; true"


def _sums_script(reads: list[PathRead]) -> str:
    names = shlex.join(sorted({read.path for read in reads if read.content}))
    files = f'for p in {names}; do [ -f "$p" ] && [ ! -L "$p" ] && printf "%s\\0" "$p"; done'
    return f"{files} | xargs -0 -r sha256sum -z --"


def _units_script(reads: list[UnitRead], *, live: bool) -> str:
    names = shlex.join(sorted(read.name for read in reads))
    if live:
        return f"systemctl show -p {_UNIT_PROPERTIES},NeedDaemonReload {names} 2>/dev/null; true"
    ask = 'printf "%s=%s\\n" "$u" "$(systemctl is-enabled "$u" 2>/dev/null)"'
    return f"for u in {names}; do {ask}; done"


def _parse_paths(output: bytes) -> dict[str, PathState]:
    fields = [part.decode(errors="surrogateescape") for part in output.split(b"\0")][:-1]
    states = {}
    for kind, mode, owner, group, size, target, path in zip(*[iter(fields)] * 7, strict=True):
        states[path] = PathState(
            kind=_FIND_TYPES.get(kind, "other"),
            mode=f"{int(mode, 8):04o}",
            owner=owner,
            group=group,
            size=int(size),
            target=target,
        )
    return states


def _parse_sums(output: bytes) -> dict[str, str]:
    lines = [part.decode(errors="surrogateescape") for part in output.split(b"\0") if part.strip()]
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def _path_state(state: PathState | None, digest: str) -> PathState:
    if state is None:
        return PathState("absent")
    if state.kind == "file" and digest:
        return PathState(state.kind, state.mode, state.owner, state.group, state.size, digest)
    return state


def _parse_packages(lines: list[str]) -> dict[str, PackageState]:
    words = (line.split(" ") for line in lines if line.count(" ") == 3)
    return {name.split(":")[0]: PackageState(status, want, version) for name, status, want, version in words}


def _parse_units(lines: list[str], *, live: bool) -> dict[str, UnitState]:
    if not live:
        pairs = (line.split("=", 1) for line in lines if "=" in line)
        return {name: UnitState("" if state == "not-found" else state.strip()) for name, state in pairs}
    units: dict[str, UnitState] = {}
    for block in "\n".join(lines).split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name in values.get("Names", "").split():
            units[name] = _unit_state(values)
    return units


def _unit_state(values: dict[str, str]) -> UnitState:
    masked = values.get("LoadState") == "masked"
    return UnitState(
        file="masked" if masked else values.get("UnitFileState", ""),
        active=values.get("ActiveState", ""),
        condition_failed=values.get("ConditionResult") == "no" and values.get("ConditionTimestampMonotonic") != "0",
        needs_reload=values.get("NeedDaemonReload") == "yes",
    )
