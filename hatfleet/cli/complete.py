"""Tab completion of names: hosts and groups, roles, inventories.

Completion runs while the user types: whatever is wrong with the site, it offers nothing instead of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from hatfleet.common.errors import HatfleetError
from hatfleet.common.paths import state_dir
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import load_yaml
from hatfleet.fleet.inventory.explain import variable_names
from hatfleet.fleet.inventory.load import inventory_names, inventory_paths, load_inventory


def complete_hosts(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer hosts and groups of the chosen inventory; in a list (``a,!b``), for its last term."""
    head, word = _last_term(incomplete, ",:!&")

    def names() -> Iterable[tuple[str, str]]:
        site = Site.find()
        inventory = load_inventory(inventory_paths(site, ctx.params.get("inventories") or ()))
        yield from ((name, "host") for name in inventory.hosts)
        yield from ((name, f"group of {len(inventory.members(name))}") for name in inventory.groups)

    return _offer(names, head, word)


def complete_explain(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer hosts, variables and settings for ``--explain HOST VAR``: click does not tell which of the two is typed."""

    def names() -> Iterable[tuple[str, str]]:
        site = Site.find()
        inventory = load_inventory(inventory_paths(site, ctx.params.get("inventories") or ()))
        yield from ((name, "host") for name in inventory.hosts)
        yield from ((name, "variable or setting") for name in variable_names(site, inventory))

    return _offer(names, "", incomplete)


def complete_roles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the roles of the site and the package; in a list (``base,harden``), for its last term."""
    head, word = _last_term(incomplete, ",")
    return _offer(lambda: ((name, "") for name in Site.find().names("roles")), head, word)


def complete_inventories(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the site's inventories, ``lab`` when there is one, and else paths."""

    def names() -> Iterable[tuple[str, str]]:
        yield from ((name, "inventory of the site") for name in inventory_names(Site.find()))
        if (state_dir() / "lab" / "inventory" / "hosts.yaml").is_file():
            yield "lab", "the virtual devices"

    return _offer(names, "", incomplete) or [CompletionItem(incomplete, type="file")]


def complete_secrets(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the key paths of the secrets in the file that the command line names."""

    def names() -> Iterable[tuple[str, str]]:
        file = ctx.params.get("file") or ctx.params.get("target")
        if file is not None:
            yield from ((".".join(map(str, path)), "secret") for path, _ in load_yaml(Path(file)).encrypted())

    return _offer(names, "", incomplete)


def _last_term(incomplete: str, dividers: str) -> tuple[str, str]:
    """Split what is typed into the terms that are done and the one being typed."""
    match = re.fullmatch(rf"(.*[{re.escape(dividers)}])?(.*)", incomplete)
    return (match.group(1) or "", match.group(2)) if match else ("", incomplete)


def _offer(names: Callable[[], Iterable[tuple[str, str]]], head: str, word: str) -> list[CompletionItem]:
    try:
        return [CompletionItem(head + name, help=help_text) for name, help_text in names() if name.startswith(word)]
    except (HatfleetError, OSError):
        return []
