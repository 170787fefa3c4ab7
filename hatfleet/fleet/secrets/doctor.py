"""What is wrong with the secrets of a site: the findings of ``provision secrets doctor``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.age import read_stanzas
from hatfleet.common.errors import ErrorCollector, InputError, InputErrors, Where
from hatfleet.common.site import Site
from hatfleet.common.validate import misplaced_secrets
from hatfleet.common.yamlfile import Encrypted, Node, load_yaml
from hatfleet.fleet.inventory.load import inventory_names, inventory_paths, load_inventory
from hatfleet.fleet.roles import load_role_info
from hatfleet.fleet.secrets.site import secret_files
from hatfleet.fleet.secrets.vault import Recipients, Vault

#: Folders that hold no text of the admin's: version control, environments, results.
_SKIPPED = frozenset({".git", ".venv", "__pycache__", "node_modules", "out"})

#: Larger files are no keys.
_KEY_FILE_LIMIT_BYTES = 1 << 20

#: Private keys by content: what their encodings begin with, and enough of the key to be one.
_PRIVATE_KEY = re.compile(
    rb"AGE-SECRET-KEY-1[0-9A-Z]{58}"
    rb"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+(?:[A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/]{40}"
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the secrets of a site."""

    message: str
    hint: str | None
    where: Where | None


def examine(site: Site, vault: Vault, *, settings: bool = True) -> tuple[int, list[Finding]]:
    """Return how many secrets the site has, and everything that is wrong with them or could give them away.

    Args:
        site: The site.
        vault: What decrypts them.
        settings: Also look for plain text where roles declare a secret, in all inventories.
    """
    errors = ErrorCollector()
    values: list[tuple[str, Node]] = []
    for file in secret_files(site):
        with errors.collect():
            values += [(".".join(map(str, path)), node) for path, node in load_yaml(file).encrypted()]
    with errors.collect():
        _examine_values(Recipients(site), vault, values, errors)
    errors.errors += _open_identities(vault)
    errors.errors += _private_keys(site)
    if settings:
        with errors.collect():
            errors.errors += _plain_secrets(site)
    try:
        errors.check()
    except InputErrors as found:
        return len(values), [Finding(error.message, error.hint, error.where) for error in found.errors]
    return len(values), []


def _examine_values(
    recipients: Recipients, vault: Vault, values: Sequence[tuple[str, Node]], errors: ErrorCollector
) -> None:
    if not values and not recipients.file.exists():
        return
    # An age file hides who an age1… recipient is: their number and the SSH keys can be compared, and the digest of
    # the whole list with that of the last rekey.
    wanted = sorted({one.text: str(one.stanza) for one in recipients.load()}.values())
    for key, node in values:
        with errors.collect():
            vault.reveal(node, key.split("."))
        with errors.collect():
            if _stanzas(node) not in (wanted, None):
                raise InputError(
                    f"encrypted to others than those in {recipients.file}",
                    where=node.where(key),
                    hint="encrypt it to them: provision secrets rekey",
                )
    if recipients.rekeyed() is False:
        raise InputError(
            "the recipients have changed since the secrets were encrypted to them",
            where=Where(recipients.file),
            hint="run provision secrets rekey; and change secrets that somebody who left could read",
        )


def _stanzas(node: Node) -> list[str] | None:
    """Return the recipients that an age file shows, or None for a damaged one, which cannot be decrypted either."""
    assert isinstance(node.value, Encrypted)
    try:
        return sorted(map(str, read_stanzas(node.value.armour)))
    except InputError:
        return None


def _open_identities(vault: Vault) -> Iterator[InputError]:
    for file in vault.files:
        if file.exists() and file.stat().st_mode & 0o077:
            yield InputError(
                f"the identity can be read by others: its mode is {file.stat().st_mode & 0o777:04o}",
                where=Where(file),
                hint=f"chmod 600 {file}",
            )


def _private_keys(site: Site) -> Iterator[InputError]:
    """Yield the private keys that lie in the site, whatever their names."""
    for folder, folders, files in os.walk(site.root):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(files):
            yield from _private_key(Path(folder) / name)


def _private_key(file: Path) -> Iterator[InputError]:
    try:
        if not file.is_file() or file.stat().st_size > _KEY_FILE_LIMIT_BYTES:
            return
        data = file.read_bytes()
    except OSError:
        return
    found = _PRIVATE_KEY.search(data)
    if found:
        yield InputError(
            "a private key lies in the site in plain text",
            where=Where(file, data.count(b"\n", 0, found.start()) + 1),
            hint="move it out of the site; if it was ever committed or copied, replace it",
        )


def _plain_secrets(site: Site) -> Iterator[InputError]:
    """Yield the settings that are declared as secrets and given in plain text, and the other way round."""
    models = {name: load_role_info(site, name).settings for name in site.names("roles")}
    for name in inventory_names(site):
        inventory = load_inventory(inventory_paths(site, (name,)))
        for host in inventory.hosts:
            variables = inventory.variables(host, models)
            for role, model in models.items():
                yield from misplaced_secrets(model, variables.get(role), [role])
