"""All secrets of a site: where they are, and their encryption to other recipients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hatfleet.common.age import Recipient, encrypt
from hatfleet.common.errors import ErrorCollector, InputError, Where, nearest
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import AGE_TAG, Encrypted, Node, load_yaml
from hatfleet.fleet.secrets.edit import read_text, replace_encrypted, write_text
from hatfleet.fleet.secrets.vault import Recipients, Vault

_SUFFIXES = ("", ".yml", ".yaml")


def secret_files(site: Site, paths: Sequence[Path] = ()) -> list[Path]:
    """Return the variables files that hold secrets, of the whole site or below some paths.

    Raises:
        InputError: a path that does not exist.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}")
    roots = paths or (site.root / "inventory",)
    files = {file for root in roots for file in ([root] if root.is_file() else root.rglob("*"))}
    return sorted(file for file in files if _may_hold_secrets(file))


def _may_hold_secrets(file: Path) -> bool:
    backup = file.name.startswith(".") or file.name.endswith("~")
    if backup or file.suffix not in _SUFFIXES or not file.is_file():
        return False
    return AGE_TAG.encode() in file.read_bytes()


def find_secret(file: Path, key: str | None) -> tuple[str, Node]:
    """Return one secret of a file and its dotted key.

    Args:
        file: A variables file.
        key: Its key; may be left out where there is only one.

    Raises:
        InputError: there is no such secret, or more than one and no key.
    """
    found = {".".join(map(str, path)): node for path, node in load_yaml(file).encrypted()}
    if key is None and len(found) == 1:
        return next(iter(found.items()))
    names = ", ".join(found) or "none"
    if key is None:
        raise InputError(f"which one? The secrets in it are: {names}", where=Where(file), hint="name it with --key")
    if key not in found:
        close = nearest(key, found)
        raise InputError(
            f"no secret {key!r}; there is: {names}",
            where=Where(file),
            hint=f"did you mean {close!r}?" if close else "make one with: provision secrets encrypt",
        )
    return key, found[key]


def rekey(site: Site, vault: Vault, paths: Sequence[Path] = ()) -> Iterator[tuple[Path, int]]:
    """Encrypt secrets to the present recipients; yield every file written, and how many values are in it.

    Everything is decrypted before the first file is written, so that a value nobody can read stops it early. Each file
    is written whole or not at all: stopped at any moment, it is the old one or the new one.

    Args:
        site: The site.
        vault: Decrypts them.
        paths: Files and folders to do; all of the site by default.

    Raises:
        InputErrors: a file or value that cannot be read.
    """
    recipients = Recipients(site)
    to = recipients.load()
    errors = ErrorCollector()
    ready: list[tuple[Path, str, int]] = []
    for file in secret_files(site, paths):
        with errors.collect():
            text, count = _renewed(file, vault, to)
            ready.append((file, text, count))
    errors.check()
    for file, text, count in ready:
        write_text(file, text)
        yield file, count
    if not paths:
        recipients.note_rekeyed()


def _renewed(file: Path, vault: Vault, to: Sequence[Recipient]) -> tuple[str, int]:
    count = 0

    def renew(node: Node, key: str) -> str:
        nonlocal count
        count += 1
        assert isinstance(node.value, Encrypted)
        return encrypt(vault.reveal(node, [key])[node.value].encode(), to)

    return replace_encrypted(read_text(file), file, renew), count
