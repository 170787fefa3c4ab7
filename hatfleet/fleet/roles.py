"""Roles: how each thing is done, found on the content path.

A role is a folder ``roles/<name>/``. Its ``settings.py`` is read without importing the role itself, because the
role's code needs pyinfra, which only the worker process loads.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hatfleet.common.errors import InputError, Where
from hatfleet.common.site import Site
from hatfleet.fleet.settings import RoleSettings
from hatfleet.runtimes.environment import Environment


class Half(StrEnum):
    """The two halves of a role."""

    IMAGE = "image"
    """What belongs to the OS image: the same on every device."""
    DEVICE = "device"
    """What belongs to this one device: names, keys, peers."""


@dataclass(frozen=True)
class RoleInfo:
    """A role as the admin side sees it: where it lies and what can be set."""

    name: str
    path: Path
    settings: type[RoleSettings]


@dataclass(frozen=True)
class DeviceContext:
    """What a role's ``device`` half may know about the device beside its settings."""

    name: str
    """The inventory name of the host."""


@dataclass(frozen=True)
class KernelDriver:
    """A kernel driver that a package brings as source, and that is compiled when an image is built."""

    package: str
    """The Debian package."""
    version: str
    """Its version."""
    source: str
    """Folder of the package with the source, from the root, without a leading slash."""
    name: str
    """What DKMS calls the driver."""
    release: str
    """The driver's own version."""
    modules: tuple[str, ...]
    """Names of the modules that come of it."""
    template: tuple[str, str] | None = None
    """File of the source that becomes ``dkms.conf``, and the word in it that stands for the driver's version; None when
    the source has its ``dkms.conf``."""
    kernel_limit: tuple[int, int] | None = None
    """The first kernel that it is known not to build for; None: none is known."""
    limit_reason: str = ""
    """Why not."""

    @property
    def exact(self) -> str:
        """The package as apt takes an exact version."""
        return f"{self.package}={self.version}"


@dataclass(frozen=True)
class RoleCode:
    """A role's code, loaded in the worker; a half that the role does not have is None."""

    info: RoleInfo
    packages: Callable[[Any], list[str]] | None
    image: Callable[[Any], None] | None
    device: Callable[[Any, DeviceContext], None] | None
    environments: Callable[[Any], list[Environment]] | None = None
    """The Python environments that the role lays down: for an image they are put together on the building machine."""
    state: tuple[str, ...] = ()
    """Files that belong to the device and not to the image: on a read-only image, links into the device's state."""
    modules: Callable[[Any], list[KernelDriver]] | None = None
    """Kernel drivers that are compiled for an image's kernel; their packages are in the image, but set nothing up."""
    refused: Callable[[Any], Mapping[str, str]] | None = None
    """Packages that must not be in an image, and why."""


def load_role_info(site: Site, name: str) -> RoleInfo:
    """Find a role on the content path and read its settings model.

    Raises:
        InputError: there is no such role, or its settings.py has no RoleSettings subclass named Settings.
    """
    path = site.require("roles", name)
    module = _load_settings_module(name, path)
    model = getattr(module, "Settings", None)
    if not (isinstance(model, type) and issubclass(model, RoleSettings)):
        raise InputError(
            "a role's settings.py must define one class Settings(RoleSettings)",
            where=Where(path / "settings.py"),
            hint="see roles/governor/settings.py for a small example",
        )
    return RoleInfo(name, path, model)


def _load_settings_module(name: str, path: Path) -> Any:
    """Execute settings.py under its proper name without importing the package around it."""
    full_name = f"roles.{name}.settings"
    loaded = sys.modules.get(full_name)
    file = path / "settings.py"
    if loaded is not None and getattr(loaded, "__file__", None) == str(file):
        return loaded
    spec = importlib.util.spec_from_file_location(full_name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise InputError("the role has no settings.py", where=Where(path), hint="every role declares its settings")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # pydantic looks annotations up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[full_name]
        raise InputError(f"settings.py does not load: {error}", where=Where(file)) from error
    return module


def load_role_code(site: Site, name: str) -> RoleCode:
    """Import a role with its operations. Only the worker process does this (it imports pyinfra).

    Raises:
        InputError: the role does not import.
    """
    info = load_role_info(site, name)
    site.activate()
    try:
        module = importlib.import_module(f"roles.{name}")
    except Exception as error:
        raise InputError(f"the role does not load: {error}", where=Where(info.path / "__init__.py")) from error
    return RoleCode(
        info,
        packages=getattr(module, "packages", None),
        image=getattr(module, "image", None),
        device=getattr(module, "device", None),
        environments=getattr(module, "environments", None),
        state=tuple(getattr(module, "STATE", ())),
        modules=getattr(module, "modules", None),
        refused=getattr(module, "refused", None),
    )


def deploy_roles(site: Site, deploy: str) -> tuple[str, ...]:
    """Return the role names that ``deploys/<deploy>.py`` lists, in the order in which they run.

    Raises:
        InputError: no such deploy, or it has no ROLES tuple.
    """
    path = site.require("deploys", deploy, ".py")
    spec = importlib.util.spec_from_file_location(f"deploys.{deploy}", path)
    if spec is None or spec.loader is None:
        raise InputError("not a Python file", where=Where(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"the deploy does not load: {error}", where=Where(path)) from error
    roles = getattr(module, "ROLES", None)
    if not isinstance(roles, tuple) or not all(isinstance(role, str) for role in roles):
        raise InputError(
            'a deploy must define ROLES, a tuple of role names, such as ROLES = ("base", "harden")',
            where=Where(path),
        )
    return roles
