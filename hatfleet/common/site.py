"""The site: the folder an admin works in, and where content (roles, deploys, recipes) is looked up.

Look-up order is site first, package second, so that a site adds or overrides a role by adding a folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import InputError, nearest

#: A folder is a site when it holds one of these.
SITE_MARKERS = ("inventory", "roles", "images", "deploys")


def package_content() -> Path:
    """The content that came with hatfleet: inside the installed package, or the checkout it runs from."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_content"
    return installed if installed.is_dir() else package.parent


#: The site whose roles can be imported; one a process, as sys.path is.
_active: Site | None = None


def active_site() -> Site:
    """Return the site whose roles were made importable, for the code of a role; else that of the working directory."""
    return _active or Site.find()


@dataclass(frozen=True)
class Site:
    """An admin's folder, and the content path that starts with it."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Site:
        """Return the site that ``start`` (default: the working directory) lies in.

        The nearest folder upwards with an ``inventory`` folder; the starting folder itself when there is none.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "inventory").is_dir():
                return cls(folder)
        return cls(here)

    @property
    def content_path(self) -> tuple[Path, ...]:
        """Folders that may hold ``roles/``, ``deploys/`` and ``images/``, first one wins."""
        package = package_content()
        return (self.root,) if self.root == package else (self.root, package)

    def activate(self) -> None:
        """Make ``roles`` and ``deploys`` importable from the content path (namespace packages)."""
        global _active  # noqa: PLW0603  # belongs to sys.path, which is global
        _active = self
        for folder in reversed(self.content_path):
            entry = str(folder)
            if entry in sys.path:
                sys.path.remove(entry)
            sys.path.insert(0, entry)

    def find_content(self, kind: str, name: str, suffixes: tuple[str, ...] = ("",)) -> Path | None:
        """Return the first ``<content>/<kind>/<name><suffix>`` that exists, or None."""
        for folder in self.content_path:
            for suffix in suffixes:
                candidate = folder / kind / f"{name}{suffix}"
                if candidate.exists():
                    return candidate
        return None

    def names(self, kind: str, suffix: str = "") -> list[str]:
        """Names of all entries of a kind: folders with an ``__init__.py`` or files with ``suffix``."""
        found: set[str] = set()
        for folder in self.content_path:
            base = folder / kind
            if not base.is_dir():
                continue
            for entry in base.iterdir():
                if suffix and entry.name.endswith(suffix) and not entry.name.startswith("_"):
                    found.add(entry.name.removesuffix(suffix))
                elif not suffix and (entry / "__init__.py").is_file():
                    found.add(entry.name)
        return sorted(found)

    def require(self, kind: str, name: str, suffix: str = "") -> Path:
        """Like find_content, but a missing name is an error that lists what there is.

        Raises:
            InputError: nothing of that name on the content path.
        """
        found = self.find_content(kind, name, (suffix,))
        if found:
            return found
        known = self.names(kind, suffix)
        close = nearest(name, known)
        raise InputError(
            f"unknown {kind.removesuffix('s')} {name!r}: there is {', '.join(known) or 'none'}",
            hint=(f"did you mean {close!r}? " if close else "")
            + f"looked in {', '.join(str(folder / kind) for folder in self.content_path)}",
        )
