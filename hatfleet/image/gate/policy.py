"""What an image may hold: the reviewed defaults, and what a recipe adds to them or takes from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hatfleet.common.errors import nearest
from hatfleet.common.validate import validate
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.job import RoleRun

DEFAULTS_FILE = Path(__file__).with_name("defaults.yaml")

Kind = Literal["units", "setuid", "listen"]
KINDS: tuple[Kind, ...] = ("units", "setuid", "listen")

#: How a socket is named: protocol, and a port, or a port on the loopback addresses only.
LOOPBACK = "loopback"


def _port_in_range(name: str) -> str:
    port = int(name.rpartition("/")[2].rpartition(":")[2])
    if not 1 <= port <= 65535:
        raise ValueError(f"there is no port {port}: give one from 1 to 65535")
    return name


UnitName = Annotated[
    str, Field(pattern=r"^(user/)?[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|path|mount|automount|swap)$")
]
FilePath = Annotated[str, Field(pattern=r"^(/[^/\n]+)+$")]
SocketName = Annotated[str, Field(pattern=r"^(tcp|udp)/(loopback:)?[0-9]{1,5}$"), AfterValidator(_port_in_range)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[str, Field(min_length=8)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class AllowedFile(_Model):
    """A file whose content would be refused, such as a test key in a package."""

    path: FilePath
    """Where it is on the device."""
    sha256: Digest
    """Digest of its content: another content is judged anew."""
    reason: Reason
    """Why it may be there, for a reviewer."""


class Removed(_Model):
    """What the defaults allow, and this image must not have."""

    units: list[UnitName] = Field(default=[])
    """Units, by the names in hatfleet's defaults."""
    setuid: list[FilePath] = Field(default=[])
    """Programs, by their paths in hatfleet's defaults."""
    listen: list[SocketName] = Field(default=[])
    """Sockets, by their names in hatfleet's defaults."""

    @model_validator(mode="after")
    def _known(self) -> Removed:
        for kind in KINDS:
            known = {name for default in getattr(defaults(), kind) for name in default.names}
            for name in getattr(self, kind):
                if name not in known:
                    close = nearest(name, known)
                    raise ValueError(
                        f"{name!r} is not among the default {kind}, so it cannot be removed from them"
                        + (f"; did you mean {close!r}?" if close else "")
                    )
        return self


class Allow(_Model):
    """A recipe's key ``allow``: what the image may hold beside the defaults."""

    units: list[UnitName] = Field(default=[])
    """Units that may be started: getty@tty1.service, or every instance by getty@.service; those of user sessions as
    user/NAME."""
    setuid: list[FilePath] = Field(default=[])
    """Programs that may have a set-user-id or set-group-id bit or file capabilities."""
    listen: list[SocketName] = Field(default=[])
    """Sockets that may wait for the network: tcp/22, or tcp/loopback:631 on the loopback addresses only."""
    files: list[AllowedFile] = Field(default=[])
    """Files whose content may be there although it looks like a secret."""
    remove: Removed = Field(default_factory=Removed)
    """What to take from the defaults."""


class Default(_Model):
    """Some names that are allowed wherever a package or a role is in the image."""

    names: Annotated[list[str], Field(min_length=1)]
    package: str | None = None
    """The Debian package that brings them."""
    role: str | None = None
    """The role that brings them."""
    reason: Reason
    """Why they may be there."""

    @model_validator(mode="after")
    def _one_origin(self) -> Default:
        if (self.package is None) == (self.role is None):
            raise ValueError("give a package or a role, and not both")
        return self


class Defaults(_Model):
    """The file defaults.yaml."""

    units: list[Default]
    """Units that may be started."""
    setuid: list[Default]
    """Programs with rights of others."""
    listen: list[Default]
    """Sockets that may wait for the network."""


@cache
def defaults() -> Defaults:
    """Return the reviewed defaults.

    Raises:
        InputErrors: the file that came with hatfleet is damaged.
    """
    return validate(Defaults, load_yaml(DEFAULTS_FILE))


@dataclass(frozen=True)
class RecipeFacts:
    """What the gate must know of a recipe."""

    roles: frozenset[str]
    """Names of the roles in the image."""
    accounts: frozenset[str]
    """Names of the accounts for people that it declares."""
    authorized_keys: frozenset[str]
    """The SSH public keys that it declares: their base64 texts."""
    allow: Allow = field(default_factory=Allow)


def recipe_facts(roles: Sequence[RoleRun], allow: Allow | None = None) -> RecipeFacts:
    """Return what the gate must know of a recipe.

    Args:
        roles: The recipe's roles with their settings; of ``base`` come the account and its keys.
        allow: The recipe's key ``allow``.
    """
    admins = [role.settings["admin"] for role in roles if role.name == "base"]
    lines = [str(line) for admin in admins for line in admin["authorized_keys"]]
    return RecipeFacts(
        roles=frozenset(role.name for role in roles),
        accounts=frozenset(str(admin["name"]) for admin in admins),
        authorized_keys=frozenset(word for line in lines for word in line.split() if word.startswith("AAAA")),
        allow=allow or Allow(),
    )


@dataclass(frozen=True)
class Policy:
    """What one image may hold, defaults and recipe together."""

    units: frozenset[str]
    setuid: frozenset[str]
    listen: frozenset[str]


def policy_of(facts: RecipeFacts, packages: Collection[str]) -> Policy:
    """Return what an image with these packages may hold."""

    def names(kind: Kind) -> frozenset[str]:
        brought = _brought(getattr(defaults(), kind), facts.roles, packages)
        return (brought - frozenset(getattr(facts.allow.remove, kind))) | frozenset(getattr(facts.allow, kind))

    return Policy(units=names("units"), setuid=names("setuid"), listen=names("listen"))


def _brought(entries: Iterable[Default], roles: Collection[str], packages: Collection[str]) -> frozenset[str]:
    here = (entry for entry in entries if entry.package in packages or entry.role in roles)
    return frozenset(name for entry in here for name in entry.names)
