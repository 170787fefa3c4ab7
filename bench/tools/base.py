"""What every tool is told, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.nodes import Node

#: The whole environment of a measured command, but for what its tool adds.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Access:
    """How to reach the nodes: ports on 127.0.0.1, the nodes' own or a proxy's, in the order of the nodes."""

    nodes: tuple[Node, ...]
    ports: tuple[int, ...]
    key_file: Path

    @property
    def known_hosts(self) -> str:
        """The nodes' host keys as a known_hosts file."""
        lines = (f"[127.0.0.1]:{port} {node.host_key}\n" for node, port in zip(self.nodes, self.ports, strict=True))
        return "".join(lines)

    @property
    def by_name(self) -> dict[str, int]:
        """The port of every node, by its name."""
        return {node.name: port for node, port in zip(self.nodes, self.ports, strict=True)}


@dataclass(frozen=True)
class Invocation:
    """A command that brings all nodes to the declared state."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """What it needs in its environment beside ENVIRONMENT."""


class Tool(ABC):
    """A tool.

    Args:
        programs: Where the tool's own programs are.
    """

    name: str

    def __init__(self, programs: Path) -> None:
        self.programs = programs

    @abstractmethod
    def write(self, folder: Path, access: Access) -> Invocation:
        """Write the work into an empty folder and return how it is run."""

    @abstractmethod
    def changes(self, folder: Path, output: str) -> int:
        """Return how many tasks or items the tool says it changed, over all nodes.

        Raises:
            HatfleetError: the output does not say, or tells of failures.
        """


def write_ssh_config(folder: Path, access: Access, *, shared: bool = True) -> Path:
    """Write a configuration for OpenSSH's own client.

    Args:
        folder: Where.
        access: The nodes.
        shared: Use one connection per node for all commands, as the tools' documentation advises.
    """
    (folder / "known_hosts").write_text(access.known_hosts)
    common = (
        f"Host *\n  HostName 127.0.0.1\n  User root\n  IdentityFile {access.key_file}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
    )
    if shared:
        common += f"  ControlMaster auto\n  ControlPath {folder}/%n.sock\n  ControlPersist 60\n"
    hosts = "".join(f"Host {name}\n  Port {port}\n" for name, port in access.by_name.items())
    config = folder / "ssh_config"
    config.write_text(hosts + common)
    return config
