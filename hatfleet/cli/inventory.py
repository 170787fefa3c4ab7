"""``provision inventory``."""

from __future__ import annotations

import json

import click

from hatfleet.cli.complete import complete_explain, complete_hosts
from hatfleet.cli.inventory_view import explained_json, host_json, print_explained, print_host, print_hosts
from hatfleet.cli.options import choose_roles, deploy_option, inventory_option, json_option, limit_option
from hatfleet.common.errors import InputError, nearest
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.explain import explain as explain_variable
from hatfleet.fleet.inventory.export import ansible_list, graph
from hatfleet.fleet.inventory.load import Inventory, inventory_paths, load_inventory, select_hosts
from hatfleet.fleet.inventory.schema import variables_schema
from hatfleet.fleet.resolve import resolve_hosts


@click.command()
@click.option(
    "--host", metavar="HOST", shell_complete=complete_hosts, help="Show one host's variables and settings, with origin."
)
@click.option(
    "--explain",
    nargs=2,
    metavar="HOST VAR",
    shell_complete=complete_explain,
    help="Show every place that gives a host's variable or setting (base.admin.name), which one wins, and why.",
)
@click.option("--graph", "as_graph", is_flag=True, help="Draw groups and hosts as a tree.")
@click.option("--schema", "as_schema", is_flag=True, help="Print a JSON schema of the variables files, for editors.")
@json_option
@deploy_option
@limit_option
@inventory_option
def inventory(
    inventories: tuple[str, ...],
    limit: str | None,
    deploy: str,
    host: str | None,
    explain: tuple[str, str] | None,
    as_graph: bool,
    as_schema: bool,
    as_json: bool,
) -> None:
    """Show hosts, groups and settings, and check them.

    Reads the inventory, shows what it says, and validates every setting of every role of the deploy; nothing is
    contacted. The format is Ansible's: hosts.yaml with all/children/hosts/vars, and group_vars/ and host_vars/ beside
    it. The settings of a role stand under the role's name:

    \b
    # inventory/<name>/group_vars/all.yaml
    base:
      admin:
        authorized_keys:
          - ssh-ed25519 AAAA… you@laptop

    \b
    provision inventory                       hosts, and every mistake in their settings
    provision inventory --host edge-01        its variables and settings, and the line each comes from
    provision inventory --explain edge-01 base.admin.name    which file gave it, and which lost
    provision inventory --graph               groups and hosts as a tree
    provision inventory --json                as 'ansible-inventory --list' prints it
    provision inventory --schema > .vars.schema.json    completion and checks in your editor
    """
    if sum((host is not None, explain is not None, as_graph, as_schema)) > 1:
        raise click.UsageError("--host, --explain, --graph and --schema exclude each other")
    site = Site.find()
    if as_schema:
        click.echo(json.dumps(variables_schema(site), indent=2))
        return
    loaded = load_inventory(inventory_paths(site, inventories))
    chosen = select_hosts(loaded, limit)
    if explain is not None:
        _explain(site, loaded, *explain, as_json=as_json)
    elif host is not None:
        _show_host(site, loaded, host, deploy, as_json=as_json)
    elif as_graph:
        click.echo("\n".join(graph(loaded, set(chosen))))
    elif as_json:
        click.echo(json.dumps(ansible_list(loaded, chosen, site.names("roles")), indent=2))
    else:
        print_hosts(loaded, chosen, site.names("roles"))
        # After the table, so that one wrong setting does not hide the fleet.
        resolve_hosts(site, loaded, chosen, choose_roles(site, deploy, None))


def _show_host(site: Site, loaded: Inventory, name: str, deploy: str, *, as_json: bool) -> None:
    _expect_host(loaded, name)
    (job,) = resolve_hosts(site, loaded, [name], choose_roles(site, deploy, None))
    variables = loaded.variables(name, site.names("roles"))
    if as_json:
        click.echo(json.dumps(host_json(loaded.hosts[name], job, variables), indent=2))
    else:
        print_host(loaded.hosts[name], job, variables)


def _explain(site: Site, loaded: Inventory, name: str, variable: str, *, as_json: bool) -> None:
    _expect_host(loaded, name)
    explained = explain_variable(site, loaded, name, variable)
    if as_json:
        click.echo(json.dumps(explained_json(loaded.hosts[name], explained), indent=2))
    else:
        print_explained(loaded.hosts[name], explained)


def _expect_host(loaded: Inventory, name: str) -> None:
    if name not in loaded.hosts:
        close = nearest(name, loaded.hosts)
        raise InputError(
            f"unknown host {name!r}", hint=f"did you mean {close!r}?" if close else "see them with: provision inventory"
        )
