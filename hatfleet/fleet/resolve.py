"""From an inventory to jobs: every role's settings validated, every connection checked, all errors at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from hatfleet.common.errors import ErrorCollector, InputError, nearest
from hatfleet.common.redact import MARK
from hatfleet.common.site import Site
from hatfleet.common.validate import UnrevealedError, validate
from hatfleet.common.yamlfile import AGE_SHOWN, Encrypted, Node
from hatfleet.fleet.engine.lease import LEASE_FILE
from hatfleet.fleet.inventory.conflicts import Conflicts
from hatfleet.fleet.inventory.model import Host, Inventory
from hatfleet.fleet.job import Connection, HostJob, RoleRun
from hatfleet.fleet.jump import jump_of
from hatfleet.fleet.roles import RoleInfo, load_role_info
from hatfleet.fleet.secrets.vault import Vault
from hatfleet.fleet.settings import disclose

#: The admin user of our images (the default of ``base.admin.name``).
DEFAULT_USER = "admin"

#: How alike a variable's name and a role's must be to be taken for a typing error: "hardn" is, "hardware" is not.
_TYPO_LIKENESS = 0.8


def _word(text: str) -> str:
    if not text or re.search(r"[\s{}]", text):
        raise ValueError("one word is needed, without blanks; {{ templates }} are not evaluated")
    return text


_Word = Annotated[str, AfterValidator(_word)]


class ConnectionVariables(BaseModel):
    """The variables that say how to reach a host; all other variables are none of its business."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    ansible_host: _Word | None = None
    """Address or name to connect to; the host's inventory name by default."""
    ansible_port: Annotated[int, Field(ge=1, le=65535)] = 22
    """TCP port of the SSH server."""
    ansible_user: _Word = DEFAULT_USER
    """User to log in as."""
    ansible_ssh_private_key_file: Path | None = None
    """Private key to log in with, relative to the site; by default the SSH agent and the usual files are tried."""
    ansible_become: bool | None = None
    """Use sudo on the device; by default when the user is not root."""
    ansible_connection: Literal["ssh", "smart", "paramiko", "paramiko_ssh"] = "ssh"
    """Devices are reached over SSH only."""
    ansible_ssh_common_args: str = ""
    """Options of ssh. A jump host is taken from them (``-J`` or ``-o ProxyJump=``), all else does not matter here."""
    ansible_ssh_extra_args: str = ""
    """More options of ssh, which win over ``ansible_ssh_common_args``."""
    hatfleet_lease_file: Annotated[str, Field(pattern=r"^/\S+$")] = LEASE_FILE
    """Where the lease lies that keeps two operators from changing a device at a time. Only for devices that share
    their ``/run``, as containers may."""
    hatfleet_known_hosts: Path | None = None
    """The file with the host's SSH host key, relative to the site; known_hosts beside hosts.yaml by default."""


def resolve_hosts(
    site: Site, inventory: Inventory, hosts: Sequence[str], roles: Sequence[str], vault: Vault | None = None
) -> tuple[HostJob, ...]:
    """Return one job per host, in the given order, with the validated settings of every role.

    A setting of type ``Path`` is a file of the admin's machine: a relative one is taken from the site's root, and one
    that the inventory gives must exist.

    Args:
        site: Where roles are looked up.
        inventory: The hosts and their variables.
        hosts: Names of hosts in it.
        roles: Names of roles.
        vault: Decrypts the secrets of these hosts and roles. Without it they stay encrypted: the jobs are to be looked
            at and cannot be run.

    Raises:
        InputErrors: everything that is wrong for any of the hosts; a line that many hosts inherit is reported once.
    """
    errors = ErrorCollector()
    known = site.names("roles")
    infos = []
    for name in roles:
        with errors.collect():
            infos.append(load_role_info(site, name))
    errors.check()
    jobs = []
    conflicts = Conflicts(inventory, roles)
    for name in hosts:
        host = inventory.hosts[name]
        variables = inventory.variables(name, known)
        runs = []
        with errors.collect():
            conflicts.refuse(name)
        with errors.collect():
            _refuse_near_roles(variables, known)
        for info in infos:
            with errors.collect():
                runs.append(_role_run(site, info, host, variables.get(info.name), vault))
        with errors.collect():
            jobs.append(HostJob(name=name, connection=resolve_connection(site, host, variables), roles=tuple(runs)))
    errors.check()
    return tuple(jobs)


def _refuse_near_roles(variables: Mapping[str, Node], roles: Collection[str]) -> None:
    """Catch ``hardn:``: its settings would be an ordinary variable that nobody reads, and the device unhardened."""
    errors = ErrorCollector()
    for name, node in variables.items():
        if name in roles or name.startswith(("ansible_", "hatfleet_")) or not isinstance(node.value, Mapping):
            continue
        close = nearest(re.sub(r"[^a-z0-9]", "_", name.lower()), roles, _TYPO_LIKENESS)
        if close:
            with errors.collect():
                raise InputError(
                    f"{name!r} is not a role, but close to {close!r}: its settings would not be used",
                    where=node.where(name),
                    hint=f"write {close!r}, or rename the variable",
                )
    errors.check()


def _role_run(site: Site, info: RoleInfo, host: Host, node: Node | None, vault: Vault | None) -> RoleRun:
    # Where nothing is said about the role, a missing setting is reported at the line of the host.
    given = node or Node(None, host.source, host.line)
    disclosed = vault is not None or not any(given.encrypted())
    revealed = vault.reveal(given, [info.name]) if vault else None
    try:
        settings = validate(info.settings, given, [info.name], revealed)
    except UnrevealedError:
        return RoleRun(name=info.name, settings=given.plain(), disclosed=False)
    errors = ErrorCollector()
    placed = _place_paths(site, settings.model_dump(), node, [info.name], errors)
    errors.check()
    secrets: list[str] = []

    def show(text: str) -> str:
        if not disclosed:
            # A default is no more to be seen than a value that is encrypted.
            return AGE_SHOWN if text == AGE_SHOWN else MARK
        secrets.append(text)
        return text

    plain = to_jsonable_python(disclose(placed, show))
    return RoleRun(name=info.name, settings=plain, secrets=tuple(dict.fromkeys(secrets)), disclosed=disclosed)


def _place_paths(site: Site, value: Any, node: Node | None, path: list[str], errors: ErrorCollector) -> Any:
    """Replace every relative path in dumped settings by its place in the site; collect those that do not exist."""
    if isinstance(value, dict):
        return {
            key: _place_paths(site, item, node and node.child(str(key)), [*path, str(key)], errors)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [
            _place_paths(site, item, node and node.child(index), [*path, str(index)], errors)
            for index, item in enumerate(value)
        ]
    if node is not None and isinstance(node.value, Encrypted) and not isinstance(value, SecretStr | SecretBytes):
        with errors.collect():
            raise InputError(
                "the role took a secret for an ordinary value, which would be shown",
                where=node.where(".".join(path)),
                hint="in the role's settings.py, a validator or a union turns the SecretStr into text",
            )
    if not isinstance(value, Path):
        return value
    placed = site.root / value.expanduser()
    if node is not None and not placed.exists():
        with errors.collect():
            raise InputError(
                f"found {node.shown()}, but there is no file {placed}",
                where=node.where(".".join(path)),
                hint=f"a relative path starts at the site, {site.root}",
            )
    return placed


def resolve_connection(site: Site, host: Host, variables: Mapping[str, Node]) -> Connection:
    """Return how to reach a host.

    Raises:
        InputErrors: connection variables of wrong type or value, or a key file that cannot be read.
    """
    wanted = {name: variables[name] for name in ConnectionVariables.model_fields if name in variables}
    given = validate(ConnectionVariables, Node(wanted, host.source, host.line))
    key_file = given.ansible_ssh_private_key_file
    if key_file is not None:
        key_file = site.root / key_file.expanduser()
        _check_private_key(key_file, variables["ansible_ssh_private_key_file"])
    known_hosts = given.hatfleet_known_hosts
    connection = Connection(
        address=given.ansible_host or host.name,
        port=given.ansible_port,
        user=given.ansible_user,
        key_file=key_file,
        known_hosts=site.root / known_hosts.expanduser() if known_hosts else host.source.parent / "known_hosts",
        become=given.ansible_user != "root" if given.ansible_become is None else given.ansible_become,
        lease_file=given.hatfleet_lease_file,
    )
    try:
        jump = jump_of(f"{given.ansible_ssh_common_args} {given.ansible_ssh_extra_args}", connection)
    except ValueError as error:
        named = next(name for name in ("ansible_ssh_extra_args", "ansible_ssh_common_args") if name in variables)
        raise InputError(str(error), where=variables[named].where(named)) from error
    return connection.model_copy(update={"jump": jump}) if jump else connection


def _check_private_key(file: Path, node: Node) -> None:
    where = node.where("ansible_ssh_private_key_file")
    try:
        with file.open("rb") as handle:
            head = handle.read(4096)
    except OSError as error:
        raise InputError(
            f"cannot read the private key {file}: {(error.strerror or str(error)).lower()}",
            where=where,
            hint="check the path and its permissions; a relative path starts at the site",
        ) from error
    if b"PRIVATE KEY" not in head:
        public = head.startswith((b"ssh-", b"ecdsa-", b"sk-"))
        raise InputError(
            f"{file} is {'a public key' if public else 'no private key'}",
            where=where,
            hint="name the private key, the file without .pub" if public else "it must be in OpenSSH or PEM format",
        )
