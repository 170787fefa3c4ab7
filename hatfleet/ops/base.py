"""What all operations share: reading the target, recording a change, quoting."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
from pyinfra.api.command import StringCommand
from pyinfra.context import host

from hatfleet.common.errors import HatfleetError

#: What an operation is: a generator of commands, advanced to its first command to learn whether it changes anything.
Commands: TypeAlias = Generator[StringCommand, None, None]

#: Key of ``host.connector_data`` under which changes are recorded, by operation hash.
CHANGES = "hatfleet_changes"


class OperationError(HatfleetError):
    """An operation cannot be done on this target."""


def query(script: str) -> list[str]:
    """Run a read-only shell script on the target as root and return its standard output, line by line.

    Raises:
        OperationError: it ended with a non-zero status; a script whose failure is an answer must end with ``true``.
    """
    ok, output = host.run_shell_command(StringCommand(script), _sudo=bool(host.data.get("_sudo")))
    if not ok:
        raise OperationError(f"could not read the state of the target: {output.stderr or 'no output'}")
    lines: list[str] = output.stdout_lines
    return lines


def note_change(target: str, what: str, diff: str = "") -> None:
    """Record a change of the running operation; call it before the first ``yield``."""
    recorded: dict[Any, list[tuple[str, str, str]]] = host.connector_data.setdefault(CHANGES, {})
    recorded.setdefault(host.current_op_hash, []).append((target, what, diff))


def unchanged(what: str) -> None:
    """Say in the debug log that there is nothing to do."""
    host.noop(what)


def quote(*words: str) -> str:
    """Return words quoted for a POSIX shell, separated by spaces."""
    return " ".join(shlex.quote(word) for word in words)


def unified_diff(path: str, old: str, new: str) -> str:
    """Return a unified diff with the path as its header, without time stamps."""
    return "\n".join(
        difflib.unified_diff(old.splitlines(), new.splitlines(), f"{path} (now)", f"{path} (declared)", lineterm="")
    )


def render(*, role_file: str, template: str, **values: object) -> str:
    """Render ``templates/<template>`` of a role; a name that is not given is an error.

    Args:
        role_file: The ``__file__`` of a module in the role's folder.
        template: The template's file name.
        values: The names the template may use.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(role_file).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # configuration files, not HTML
    )
    return environment.get_template(template).render(**values)
