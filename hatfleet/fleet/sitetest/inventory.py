"""Checks of one inventory: that it loads, names what exists, and gives every role what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import Where, nearest
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import load_inventory
from hatfleet.fleet.inventory.model import Inventory
from hatfleet.fleet.inventory.selection import check_limit_file, select_hosts
from hatfleet.fleet.inventory.source import PRIORITY, SUFFIXES
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.resolve import resolve_hosts
from hatfleet.fleet.secrets.vault import Vault
from hatfleet.fleet.sitetest.model import Finding, Result, SiteTest
from hatfleet.fleet.sitetest.operations import check_declared

#: The checks of an inventory in the order in which they run.
NAMES = ("inventory", "references", "groups", "settings", "operations", "determinism")

#: Where an inventory keeps files for ``--limit @FILE``, beside its hosts file.
LIMITS = "limits"


@dataclass(frozen=True)
class Subject:
    """An inventory to test, and what of it."""

    name: str
    paths: Sequence[Path]
    limit: str | None
    roles: Callable[[], Sequence[str]]
    """Returns the roles to test; what it raises is found by the check of the settings."""
    vault: Vault | None = None
    """Decrypts the secrets; without it, an inventory with secrets cannot be tested to the end."""


def check_inventory(test: SiteTest, site: Site, subject: Subject, declare: Sequence[str] | None = None) -> None:
    """Run all checks of an inventory; those that need what is broken are recorded as not run.

    Args:
        test: Runs them.
        site: Where the roles are.
        subject: The inventory.
        declare: The program that declares operations without a host; hatfleet's own by default.
    """
    loaded: list[Inventory] = []
    if not test.run("inventory", lambda: _load(subject, loaded), subject.name):
        test.skip(NAMES[1:], subject.name, "the inventory does not load")
        return
    inventory = loaded[0]
    test.run("references", lambda: _references(inventory), subject.name)
    test.run("groups", lambda: _groups(inventory), subject.name)
    hosts: list[HostJob] = []
    if not test.run("settings", lambda: _settings(site, inventory, subject, hosts), subject.name):
        test.skip(NAMES[4:], subject.name, "the settings are wrong")
        return
    job = Job(mode=Mode.PLAN, site=site.root, hosts=tuple(hosts))
    runs: list[Callable[[], Result]] = []
    test.run("operations", lambda: check_declared(job, runs, declare), subject.name)
    if not runs:
        test.skip(NAMES[5:], subject.name, "the operations cannot be declared")
        return
    test.run("determinism", runs[0], subject.name)


def _load(subject: Subject, loaded: list[Inventory]) -> Result:
    inventory = load_inventory(subject.paths)
    loaded.append(inventory)
    if inventory.hosts:
        return Result(len(inventory.hosts), "hosts")
    warning = Finding("the inventory has no hosts", where=Where(subject.paths[0]), warning=True)
    return Result(0, "hosts", (warning,))


def _settings(site: Site, inventory: Inventory, subject: Subject, hosts: list[HostJob]) -> Result:
    chosen = select_hosts(inventory, subject.limit)
    roles = subject.roles()
    hosts += resolve_hosts(site, inventory, chosen, roles, subject.vault)
    return Result(len(chosen) * len(roles), "roles on hosts")


def _references(inventory: Inventory) -> Result:
    folders = {path.parent for path in inventory.sources}
    findings: list[Finding] = []
    count = 0
    for folder in sorted(folders):
        for kind, names in (("group", inventory.groups), ("host", inventory.hosts)):
            entries = list(_variable_files(folder / f"{kind}_vars"))
            count += len(entries)
            findings += _strays(kind, entries, list(names))
        for file in _limit_files(folder):
            count += 1
            findings += [Finding(e.message, e.hint, e.where) for e in check_limit_file(inventory, file)]
    return Result(count, "files", tuple(findings))


def _variable_files(folder: Path) -> Iterator[Path]:
    """Yield what of a folder of variables is meant to be read: files with a known suffix, and folders."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        hidden = entry.name.startswith(".") or entry.name.endswith("~")
        if not hidden and (entry.is_dir() or entry.suffix in SUFFIXES):
            yield entry


def _strays(kind: str, entries: Sequence[Path], names: Sequence[str]) -> Iterator[Finding]:
    read = {f"{name}{suffix}" for name in names for suffix in SUFFIXES}
    for entry in entries:
        if entry.name not in read:
            name = entry.stem if entry.suffix in SUFFIXES else entry.name
            close = nearest(name, names)
            yield Finding(
                f"there is no {kind} {name!r}: these variables are not used",
                f"did you mean {close!r}? rename the file" if close else f"remove it, or add the {kind}",
                Where(entry),
            )


def _limit_files(folder: Path) -> Iterator[Path]:
    limits = folder / LIMITS
    for entry in sorted(limits.iterdir()) if limits.is_dir() else ():
        if entry.is_file() and not entry.name.startswith("."):
            yield entry


def _groups(inventory: Inventory) -> Result:
    """Warn of groups without hosts, and of a priority where Ansible does not look for it."""
    used = {group for host in inventory.hosts.values() for group in host.groups}
    findings = [
        Finding(
            f"the group {name!r} has no hosts",
            "its variables are used nowhere: remove it, or name its hosts",
            Where(inventory.sources[0]),
            warning=True,
        )
        for name in inventory.groups
        if name not in used and name not in ("all", "ungrouped")
    ]
    misplaced = {
        node.where(PRIORITY): layer.owner
        for host in inventory.hosts.values()
        for layer in host.layers
        if layer.in_folder and layer.kind == "group" and (node := layer.variables.get(PRIORITY))
    }
    findings += [
        Finding(
            f"the priority of {owner!r} has no effect here, in Ansible neither",
            "set it under the group's vars in the hosts file",
            where,
            warning=True,
        )
        for where, owner in misplaced.items()
    ]
    return Result(len(inventory.groups), "groups", tuple(findings))
