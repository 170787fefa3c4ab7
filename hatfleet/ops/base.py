"""Words that operations are written with: quoting, diffs, templates."""

from __future__ import annotations

import difflib
import functools
import shlex
from pathlib import Path

import jinja2

#: Where a device that was booted from a read-only image keeps the files that are its own, under their usual paths.
STATE_FOLDER = "/var/lib/hatfleet/state"


def state_path(path: str) -> str:
    """Return where a read-only image's link at ``path`` leads, if the file belongs to the device."""
    return f"{STATE_FOLDER}{path}"


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
    return _templates(Path(role_file).parent / "templates").get_template(template).render(**values)


@functools.cache
def _templates(folder: Path) -> jinja2.Environment:
    """Return one environment a folder: a template is compiled once, however many hosts it is rendered for."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  # configuration files, not HTML
    )
