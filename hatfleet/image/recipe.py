"""Recipes: what an image is made of, as an admin writes it down in ``images/<name>.yaml``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from hatfleet.common.errors import InputError, InputErrors, Where, nearest
from hatfleet.common.labkey import lab_public_key
from hatfleet.common.site import Site
from hatfleet.common.validate import validate
from hatfleet.common.yamlfile import Node, load_yaml
from hatfleet.fleet.job import RoleRun
from hatfleet.fleet.roles import deploy_roles, load_role_info
from hatfleet.fleet.settings import disclose
from hatfleet.image.archives import ArchiveFile, FurtherArchive
from hatfleet.image.disk import KINDS, MIB, NAMES, DiskIds, DiskLayout, Partition, TableType, place
from hatfleet.image.gate import Allow
from hatfleet.image.platforms import PLATFORMS, Platform, PlatformOptions
from hatfleet.image.platforms.options import NoOptions
from hatfleet.image.suites import SUITES, Suite

SUFFIX = ".yaml"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Layout(_Model):
    """The disk: kind of partition table, and sizes in MiB, each rounded up to the alignment of 8 MiB."""

    table: TableType = TableType.MBR
    """Kind of partition table: mbr or gpt. The boot loaders of Raspberry Pi have known faults with gpt."""
    bootcfg_mib: Annotated[int, Field(ge=34, le=1024)] = 40
    """The FAT partition that says which slot boots, MiB."""
    boot_mib: Annotated[int, Field(ge=34, le=4096)] = 128
    """Each of the two FAT partitions with kernel, initramfs and kernel command line, MiB."""
    system_mib: Annotated[int, Field(ge=64, le=65536)] = 512
    """Each of the two partitions with a root file system, MiB."""
    data_mib: Annotated[int, Field(ge=16, le=65536)] = 64
    """The data partition as it is in the image, MiB; on its first boot a device grows it to the end of the disk."""

    def place(self, ids: DiskIds) -> DiskLayout:
        """Return where everything lies on the disk.

        Raises:
            InputError: the disk would be larger than the table can describe.
        """
        sizes = (self.bootcfg_mib, self.boot_mib, self.boot_mib, self.system_mib, self.system_mib, self.data_mib)
        wanted = [Partition(name, kind, mib * MIB) for name, kind, mib in zip(NAMES, KINDS, sizes, strict=True)]
        return place(self.table, wanted, ids)


class SecureBoot(_Model):
    """The key that the boards' boot loader demands."""

    key: Path
    """RSA-2048 private key, an unencrypted PEM file; from the recipe's folder."""


class RecipeFile(_Model):
    """A recipe as it is written."""

    name: Name
    """Name of the image: lower-case letters, digits and inner hyphens; the name of the file without .yaml."""
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+~]{0,30}$")]
    """Version of the image, such as "1.4.0" (in quotes, lest YAML reads a number)."""
    platform: str
    """The machine it is for: one of the platforms hatfleet knows."""
    suite: str
    """The Debian release it is made from, by its code name."""
    deploy: str | None = None
    """A list of roles in deploys/; "image" when neither deploy nor roles is given."""
    roles: list[str] | None = None
    """The roles whose image halves it holds, in the order in which they run; in place of deploy."""
    lab_access: bool = False
    """Let the lab of the machine that builds the image log in. For virtual devices only."""
    writable: bool = False
    """Keep what is written to the root file system, on a virtual device to try things on. Never for real devices."""
    packages: list[PackageName] = Field(default=[])
    """Debian packages beside those that the platform and the roles need."""
    settings: dict[str, dict[str, Any]] = Field(default={})
    """Settings of roles, under the role's name, as in an inventory."""
    layout: Layout = Layout()
    """The disk: kind of partition table and sizes of the partitions."""
    options: dict[str, Any] = Field(default={})
    """What the platform lets choose (docs/how-to/platforms.md)."""
    archive: ArchiveFile | None = None
    """Where the platform's own packages come from, beside Debian's."""
    archives: list[FurtherArchive] = Field(default=[])
    """Further archives, each with the keys that may sign it. Their packages count as much as Debian's."""
    mirror: str | None = None
    """A mirror of Debian in place of the default one, such as a snapshot of a day."""
    allow: Allow = Allow()
    """What the gate lets through beside its defaults (docs/reference/image-gate.md)."""
    secure_boot: SecureBoot | None = None
    """Sign what the boot loader loads, for boards that have the key's hash."""


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and found right."""

    file: Path
    name: str
    version: str
    platform: Platform
    suite: Suite
    packages: tuple[str, ...]
    roles: tuple[RoleRun, ...]
    layout: Layout
    writable: bool
    options: PlatformOptions
    archive: ArchiveFile | None
    archives: tuple[FurtherArchive, ...]
    mirror: str | None
    allow: Allow
    secure_boot_key: Path | None
    admin_user: str | None
    """The account that the role base makes; None without that role."""
    places: Node
    """The file as read, to point at a line later."""

    def where(self, *path: str) -> Where:
        """The place of a key in the recipe, or of the recipe when the key is not written there."""
        found = self.places.find(path)
        return found.where(".".join(path)) if found else Where(self.file, key=".".join(path))


def find_recipe(site: Site, name: str) -> Path:
    """Return the file of a recipe given by path or by name.

    Raises:
        InputError: there is no such file or name; the error lists the names.
    """
    path = Path(name)
    if path.suffix == SUFFIX or "/" in name:
        if path.is_file():
            return path
        raise InputError(f"there is no recipe {name}", hint="provision image list shows the recipes by name")
    return site.require("images", name, SUFFIX)


def load_recipe(site: Site, file: Path) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: one or several mistakes (InputErrors), each with its line.
    """
    node = load_yaml(file)
    written = validate(RecipeFile, node)
    problems: list[InputError] = []
    platform, suite = PLATFORMS.get(written.platform), SUITES.get(written.suite)
    if platform is None:
        problems.append(_unknown("platform", written.platform, list(PLATFORMS), node))
    if suite is None:
        problems.append(_unknown("suite", written.suite, list(SUITES), node))
    if file.stem != written.name:
        problems.append(_error(node, "name", f"found {written.name!r}, but the file is called {file.name}"))
    if platform and written.lab_access and not platform.lab:
        problems.append(_error(node, "lab_access", f"the lab cannot run images for {platform.name}"))
    if platform and written.writable and not platform.lab:
        problems.append(
            _error(node, "writable", f"images for {platform.name} are read-only; only virtual ones may not be")
        )
    names = _role_names(site, written, node, problems)
    problems += _stray_settings(written, names, node)
    roles = tuple(_role_runs(site, names, written, node, problems))
    options = _options(platform, written, node, problems) if platform else NoOptions()
    secure_boot_key = file.parent / written.secure_boot.key if written.secure_boot else None
    if platform and secure_boot_key and platform.minimum_eeprom_signed is None:
        problems.append(_error(node, "secure_boot", f"{platform.name} has no boot loader that checks a signature"))
    elif secure_boot_key and not secure_boot_key.is_file():
        problems.append(_error(node, "secure_boot", f"there is no file {secure_boot_key}"))
    if problems:
        raise problems[0] if len(problems) == 1 else InputErrors(problems)
    assert platform is not None and suite is not None
    base = next((role.settings for role in roles if role.name == "base"), None)
    return Recipe(
        file=file,
        name=written.name,
        version=written.version,
        platform=platform,
        suite=suite,
        packages=tuple(written.packages),
        roles=roles,
        layout=written.layout,
        writable=written.writable,
        options=options,
        archive=written.archive,
        archives=tuple(written.archives),
        mirror=written.mirror,
        allow=written.allow,
        secure_boot_key=secure_boot_key,
        admin_user=base["admin"]["name"] if base else None,
        places=node,
    )


def settings_digest(settings: Any) -> str:
    """Return a hash over settings and over the files that they name, so that a changed key file counts."""
    contents = {
        str(path): hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for path in _strings(settings)
        if path.startswith("/") and Path(path).is_file()
    }
    return hashlib.sha256(json.dumps([settings, contents], sort_keys=True).encode()).hexdigest()[:32]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _role_names(site: Site, written: RecipeFile, node: Node, problems: list[InputError]) -> Sequence[str]:
    if written.roles is not None and written.deploy is not None:
        problems.append(_error(node, "roles", "give either roles or deploy, not both"))
        return ()
    try:
        names = written.roles if written.roles is not None else deploy_roles(site, written.deploy or "image")
    except InputError as error:
        problems.append(InputError(error.message, hint=error.hint, where=error.where or _where(node, "deploy")))
        return ()
    for twice in sorted({name for name in names if list(names).count(name) > 1}):
        problems.append(_error(node, "roles", f"the role {twice!r} is listed more than once"))
    return names


def _role_runs(
    site: Site, names: Sequence[str], written: RecipeFile, node: Node, problems: list[InputError]
) -> Iterator[RoleRun]:
    for name in names:
        try:
            model = load_role_info(site, name).settings
            validate(model, node.find(["settings", name]), ("settings", name))
            values = written.settings.get(name, {})
            if name == "base" and written.lab_access:
                values = _with_key(values, lab_public_key())
            # A recipe holds no secrets (validate refuses them); what a role has as default is no secret of the site.
            plain = disclose(model.model_validate(values).model_dump(), str)
            yield RoleRun(name=name, settings=to_jsonable_python(plain))
        except InputErrors as error:
            problems += error.errors
        except InputError as error:
            problems.append(InputError(error.message, hint=error.hint, where=error.where or _where(node, "roles")))
    if written.lab_access and "base" not in names and names:
        problems.append(_error(node, "lab_access", "needs the role base, which puts the key in place"))


def _options(platform: Platform, written: RecipeFile, node: Node, problems: list[InputError]) -> PlatformOptions:
    try:
        validate(platform.options, node.find(["options"]), ("options",))
    except InputErrors as error:
        problems += error.errors
    except InputError as error:
        problems.append(error)
    else:
        return platform.options.model_validate(written.options)
    return NoOptions()


def _with_key(settings: dict[str, Any], key: str) -> dict[str, Any]:
    admin = settings.get("admin", {})
    return {**settings, "admin": {**admin, "authorized_keys": [*admin.get("authorized_keys", []), key]}}


def _stray_settings(written: RecipeFile, names: Sequence[str], node: Node) -> Iterator[InputError]:
    for role in written.settings:
        if names and role not in names:
            close = nearest(role, names)
            hint = f"did you mean {close!r}?" if close else "add the role, or remove its settings"
            message = f"settings for {role!r}, which is not among the roles: {', '.join(names)}"
            yield InputError(message, hint=hint, where=_where(node, "settings", role))


def _unknown(key: str, found: str, known: Sequence[str], node: Node) -> InputError:
    close = nearest(found, known)
    hint = f"did you mean {close!r}?" if close else None
    return InputError(f"unknown {key} {found!r}: there is {', '.join(known)}", hint=hint, where=_where(node, key))


def _error(node: Node, key: str, message: str) -> InputError:
    return InputError(message, where=_where(node, key))


def _where(node: Node, *path: str) -> Where:
    found = node.find(path)
    return found.where(".".join(path)) if found else Where(node.file, key=".".join(path))
