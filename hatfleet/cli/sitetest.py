"""``provision test``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import click

from hatfleet.cli.identity import identity_options, make_vault
from hatfleet.cli.options import (
    choose_roles,
    deploy_option,
    inventory_option,
    json_option,
    limit_option,
    roles_option,
)
from hatfleet.cli.sitetest_view import outcomes_json, print_outcomes
from hatfleet.common.progress import slow_step
from hatfleet.common.site import Site
from hatfleet.compliance.sitetest import check_controls
from hatfleet.fleet.inventory.load import inventory_names, inventory_paths
from hatfleet.fleet.secrets.doctor import examine
from hatfleet.fleet.secrets.vault import Vault
from hatfleet.fleet.sitetest.inventory import Subject, check_inventory
from hatfleet.fleet.sitetest.model import Finding, Result, SiteTest
from hatfleet.fleet.sitetest.roles import check_deploys, check_roles
from hatfleet.image.sitetest import check_recipes

#: The checks of the site as a whole, before those of its inventories.
SITE_CHECKS: tuple[tuple[str, Callable[[Site, Vault], Result]], ...] = (
    ("roles", lambda site, vault: check_roles(site)),
    ("controls", lambda site, vault: check_controls(site)),
    ("deploys", lambda site, vault: check_deploys(site)),
    ("recipes", lambda site, vault: check_recipes(site)),
    ("secrets", lambda site, vault: _check_secrets(site, vault)),  # noqa: PLW0108  # defined below
)


def _check_secrets(site: Site, vault: Vault) -> Result:
    # Plain text where a role declares a secret is found by the check of the settings, inventory by inventory.
    count, findings = examine(site, vault, settings=False)
    return Result(count, "secrets", tuple(Finding(one.message, one.hint, one.where) for one in findings))


@click.command("test")
@json_option
@deploy_option
@roles_option
@limit_option
@inventory_option
@identity_options
def test(inventories: tuple[str, ...], limit: str | None, roles: str | None, deploy: str, as_json: bool) -> None:
    """Test the site without any host: everything that can be known beforehand.

    \b
    roles, controls, deploys, recipes   each loads, and fits the others
    secrets                             each can be decrypted, and nothing gives one away
    inventory                           hosts and groups
    references                          variables files of no host or group, names in limits/ files
    groups                              groups without hosts (a warning)
    settings                            every setting of every role on every host, and the files it names
    operations                          every role runs for every host, every template is rendered
    determinism                         the same again in a second process, with the same result

    Without -i every inventory of the site is tested, each by itself.

    \b
    provision test                      the whole site, before a commit or in CI
    provision test -i production        one inventory
    provision test --json               for a machine to read
    Exit code 0: nothing is wrong (there may be warnings); 2: something is.
    """
    site = Site.find()
    vault = make_vault(site)
    subjects = [
        Subject(", ".join(names), inventory_paths(site, names), limit, lambda: choose_roles(site, deploy, roles), vault)
        for names in ([inventories] if inventories else [(name,) for name in inventory_names(site)])
    ]
    site_test = SiteTest(slow_step)
    for name, check in SITE_CHECKS:
        site_test.run(name, lambda check=check: check(site, vault))  # type: ignore[misc]
    for subject in subjects:
        check_inventory(site_test, site, subject)
    if not subjects:
        site_test.skip(["inventory"], None, f"there is no inventory in {site.root / 'inventory'}")
    if as_json:
        click.echo(json.dumps(outcomes_json(site_test), indent=2))
    else:
        print_outcomes(site_test)
    sys.exit(site_test.exit_code)
