"""systemd units, on a running system and in a root file system that is not booted."""

from __future__ import annotations

from hatfleet.ops.base import quote
from hatfleet.ops.reads import ShellRead, UnitRead, UnitState
from hatfleet.ops.steps import Command, Note, Steps, is_live, operation

#: Unit file states that count as enabled: the unit starts as its authors or an alias arranged.
ENABLED_STATES = frozenset({"enabled", "static", "alias", "indirect", "generated", "linked"})


@operation(affects=(UnitRead, ShellRead))
def unit(
    *, unit_name: str, enabled: bool | None = True, masked: bool | None = None, running: bool | None = None
) -> Steps:
    """Have a unit enabled or not, masked or not, running or not.

    A unit that is to be disabled or stopped and does not exist is as declared. One whose conditions are not met on
    this machine (a governor without cpufreq) counts as running. In a root file system ``running`` is ignored.

    Args:
        unit_name: Unit name with its suffix ("ssh.service").
        enabled: Whether it starts by itself; None leaves that alone.
        masked: Whether it can be started at all; None unmasks only what shall be enabled.
        running: Whether it runs now; None leaves that alone.
    """
    state: UnitState = yield UnitRead(unit_name)
    quoted = quote(unit_name)
    commands: list[str] = []
    notes: list[str] = []
    if state.needs_reload:
        commands.append("systemctl daemon-reload")
        notes.append("reload unit files")
    wants_unmasked = masked is False or (masked is None and (enabled or running))
    if wants_unmasked and state.file.startswith("masked"):
        commands.append(f"systemctl unmask {quoted}")
        notes.append("unmask")
    if enabled and state.file not in ENABLED_STATES:
        commands.append(f"systemctl enable {quoted}")
        notes.append("enable")
    if enabled is False and state.file in ("enabled", "enabled-runtime"):
        commands.append(f"systemctl disable {quoted}")
        notes.append("disable")
    if is_live():
        active = state.active in ("active", "activating", "reloading")
        if running and not active and not state.condition_failed:
            commands.append(f"systemctl start {quoted}")
            notes.append("start")
        if (running is False or masked) and active:
            commands.append(f"systemctl stop {quoted}")
            notes.append("stop")
    if masked and not state.file.startswith("masked"):
        commands.append(f"systemctl mask {quoted}")
        notes.append("mask")
    if not commands:
        return
    yield Note(unit_name, ", ".join(notes))
    yield Command(" && ".join(commands))
