"""A site with secrets, for tests: one inventory with one host, a role with secrets among its settings, an identity."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from hatfleet.common.age import encrypt
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import load_inventory
from hatfleet.fleet.inventory.model import Inventory
from hatfleet.fleet.job import Connection
from hatfleet.fleet.secrets.edit import set_value
from hatfleet.fleet.secrets.vault import Recipients, Vault, new_identity

SETTINGS = '''
    from typing import Annotated
    from pydantic import Field, SecretBytes, SecretStr, field_validator
    from hatfleet.fleet.settings import RoleSettings

    class Settings(RoleSettings):
        root: str = "/nowhere"
        """Where to write."""
        ssid: str = "net"
        """Name of the network."""
        passphrase: Annotated[SecretStr, Field(min_length=8)] | None = None
        """Passphrase of the network."""
        token: SecretBytes | None = None
        """Token of the service."""
        others: dict[str, SecretStr] = {}
        """More of them."""
        loose: str | SecretStr = ""
        """A model that takes either."""

        @field_validator("token")
        @classmethod
        def _no_colon(cls, token):
            if token is not None and b":" in token.get_secret_value():
                raise ValueError(f"no colon may be in {token.get_secret_value().decode()}")
            return token
'''

#: Long enough to be cut by pytest, with characters that every encoding changes.
SECRET = 'Tr0ub4dor & 3\'s "horse" staple/%ä'


def no_passphrase(file: Path) -> str:
    raise AssertionError(f"no passphrase is needed for {file}")


@dataclass
class SecretSite:
    """The folders and the identity of one test."""

    root: Path
    identity: Path
    recipient: str = field(init=False)

    def __post_init__(self) -> None:
        self.write("inventory/prod/hosts.yaml", "all:\n  hosts:\n    n1:\n")
        self.write("inventory/prod/group_vars/all.yaml", "wifi:\n  ssid: home # ours\n")
        self.write("roles/wifi/settings.py", textwrap.dedent(SETTINGS))
        self.role("")
        self.write("deploys/site.py", 'ROLES = ("wifi",)\n')
        self.recipient = new_identity(self.identity, None)
        self.recipients.add(self.recipient, "test")
        self.recipients.note_rekeyed()

    def write(self, name: str, text: str) -> Path:
        """Write a file of the site."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def role(self, code: str) -> None:
        """Give the role its code; OWNER keeps what is written the user's own."""
        owner = f"OWNER = dict(owner={_user()!r}, group={_group()!r})\n"
        self.write("roles/wifi/__init__.py", f"from hatfleet import ops\n{owner}{textwrap.dedent(code)}")

    def connect(self, connection: Connection) -> None:
        """Make the host one that is reached over this connection."""
        known_hosts = self.write("inventory/prod/known_hosts", connection.known_hosts.read_text())
        lines = [
            "all:",
            "  hosts:",
            "    n1:",
            f"      ansible_host: {connection.address}",
            f"      ansible_port: {connection.port}",
            f"      hatfleet_lease_file: {connection.lease_file}",
            f"      ansible_user: {connection.user}",
            "      ansible_become: false",
            f"      ansible_ssh_private_key_file: {connection.key_file}",
            f"      hatfleet_known_hosts: {known_hosts}",
        ]
        self.write("inventory/prod/hosts.yaml", "\n".join(lines) + "\n")

    @property
    def variables(self) -> Path:
        return self.root / "inventory/prod/group_vars/all.yaml"

    @property
    def recipients(self) -> Recipients:
        return Recipients(Site(self.root))

    def put(self, key: str, value: str) -> None:
        """Encrypt a value into the variables file."""
        armour = encrypt(value.encode(), self.recipients.load())
        self.variables.write_text(set_value(self.variables.read_text(), self.variables, key, armour))

    def vault(self, *files: Path) -> Vault:
        return Vault(files or (self.identity,), no_passphrase, self.recipients)

    def inventory(self) -> Inventory:
        return load_inventory([self.root / "inventory/prod/hosts.yaml"])


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _group() -> str:
    import grp

    return grp.getgrgid(os.getgid()).gr_name
