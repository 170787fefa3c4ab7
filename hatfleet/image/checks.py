"""Stage checks: what the roles' controls say of the root file system, as far as files and programs can answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from hatfleet.common.errors import HatfleetError
from hatfleet.common.site import Site
from hatfleet.compliance.job import CheckJob
from hatfleet.compliance.results import HostOutcome, HostResult, Outcome
from hatfleet.compliance.runner import check_hosts, list_controls
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.job import RoleRun
from hatfleet.fleet.roles import load_role_info
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.provision import BOOT_CONTENT, BOOT_FOLDER
from hatfleet.image.recipe import Recipe
from hatfleet.image.seal import furnish
from hatfleet.image.store import digest_tree

#: The stage's output.
CHECKS_FILE = "checks.json"

#: sshd does not even show its settings without a host key, which a device makes at its first boot.
_HOST_KEY = """\
[ -x /usr/sbin/sshd ] || exit 0
key=$(readlink -m /etc/ssh/ssh_host_ed25519_key)
[ ! -e "$key" ] || exit 0
mkdir -p "${key%/*}"
exec ssh-keygen -q -t ed25519 -N '' -C '' -f "$key"
"""


def check_image(
    work: Path,
    *,
    provisioned: Path,
    native: Path,
    recipe: Recipe,
    site: Site,
    log: Path,
    progress: Callable[[str], None],
) -> None:
    """Put the controls of the recipe's roles to its root file system.

    Args:
        work: Receives ``checks.json``.
        provisioned: Output of the stage provision.
        native: The tools tree, which lends programs that need no emulation.
        recipe: What the image is to be.
        site: Where the roles' checks are looked up.
        log: Receives what tools print.
        progress: Told what is being done.

    Raises:
        InputErrors: a checks.py does not load.
        HatfleetError: the controls could not be run, which says nothing of the image.
    """
    root = work / "root"
    tree.unpack(provisioned / ARCHIVE, root, log)
    furnish(root)
    shutil.copytree(provisioned / BOOT_CONTENT, root / BOOT_FOLDER, dirs_exist_ok=True)
    found = check_root(root, name=recipe.name, site=site, roles=recipe.roles, native=native, progress=progress)
    shutil.rmtree(root)
    (work / CHECKS_FILE).write_text(TypeAdapter(HostResult).dump_json(found, indent=1).decode() + "\n")


def check_root(
    root: Path,
    *,
    name: str,
    site: Site,
    roles: Sequence[RoleRun],
    native: Path | None = None,
    progress: Callable[[str], None],
) -> HostResult:
    """Put the controls of roles to a root file system; those that need a running system are left out.

    Args:
        root: A copy of the root file system: the programs that checks run in it leave traces, and it gets an SSH host
            key of no further use.
        name: Name of the image: the host name that it has until a device is given its own.
        site: Where the roles' checks are looked up.
        roles: The roles in the image, with their settings.
        native: A tools tree that lends programs which need no emulation.
        progress: Told what is being done.

    Raises:
        InputErrors: a checks.py does not load.
        HatfleetError: the controls could not be run, which says nothing of the image.
    """
    listing = list_controls(site, [role.name for role in roles])
    if not listing.offline().controls:
        nothing = "no role has a control that files can answer"
        return HostResult(name, HostOutcome.NOT_APPLICABLE, nothing, "", None, 0, (), listing.unchecked_roles, 0.0)
    with Holder(root, native=native) as holder:
        holder.check(["sh", "-c", _HOST_KEY])
    job = CheckJob(name=name, site=site.root, roles=tuple(roles), rootfs=root.resolve(), rootfs_native=native)
    report = check_hosts([job], listing, on_progress=lambda news: progress(f"{news.done} of {news.total} controls"))
    result = report.hosts[0]
    if result.outcome is HostOutcome.INTERRUPTED:
        raise KeyboardInterrupt
    if result.outcome in (HostOutcome.ERROR, HostOutcome.UNREACHABLE):
        raise HatfleetError(f"the root file system could not be checked: {result.reason}", hint=result.hint or None)
    return result


def read_checks(folder: Path) -> HostResult:
    """Return what the controls said, from a finished stage's output."""
    return TypeAdapter(HostResult).validate_json((folder / CHECKS_FILE).read_bytes())


def not_good(found: HostResult) -> tuple[str, ...]:
    """Return a line for every control that did not pass, with what was found."""
    return tuple(
        f"{one.id} {one.role}: {one.title}\n        {one.message}"
        for one in found.controls
        if one.outcome in (Outcome.FAILED, Outcome.ERROR)
    )


def checks_code(site: Site, role: str) -> str:
    """Return a hash over the whole folder of a role: its checks may read its other files."""
    return digest_tree(load_role_info(site, role).path)
