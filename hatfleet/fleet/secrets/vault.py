"""Secrets of a site: who can read them, and their values at the moment they are used.

A value tagged ``!age`` in a variables file is encrypted to the recipients in ``keys/recipients.txt``. It is decrypted
with an identity file of the admin's, in memory, when a command runs a role that uses it, and never otherwise.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyrage

from hatfleet.common.age import (
    IDENTITY_PREFIX,
    Identity,
    NoMatchError,
    Recipient,
    decrypt,
    parse_identities,
    parse_recipient,
    read_stanzas,
)
from hatfleet.common.errors import ErrorCollector, InputError, Where
from hatfleet.common.files import write_atomic
from hatfleet.common.paths import config_dir
from hatfleet.common.redact import MIN_LENGTH
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import Encrypted, Node

#: Names the identity file, never holds the key: an environment can be read by every process of the user.
IDENTITY_VARIABLE = "HATFLEET_AGE_IDENTITY"

#: Asks for the passphrase of an identity file.
Ask = Callable[[Path], str]


def default_identity() -> Path:
    """The identity file that is used when none is named."""
    return config_dir() / "identity.txt"


def identity_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """Return the identity files to use: those given, else that of the environment, else the default one.

    Raises:
        InputError: the environment variable holds a key instead of a path.
    """
    named = os.environ.get(IDENTITY_VARIABLE, "")
    if IDENTITY_PREFIX in named.upper() or "PRIVATE KEY" in named:
        raise InputError(
            f"{IDENTITY_VARIABLE} holds a private key: it must be the path of the file with it",
            hint="every process of yours can read it there: make a new identity, and rekey",
        )
    return tuple(given) or ((Path(named).expanduser(),) if named else (default_identity(),))


def load_identities(file: Path, ask: Ask) -> tuple[Identity, ...]:
    """Read one identity file.

    Raises:
        InputError: it cannot be read, holds no identity, or the passphrase is wrong.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"there is no age identity: no file {file}",
            hint=f"name yours with --identity FILE or {IDENTITY_VARIABLE}, or make one: provision secrets init",
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the identity file {file}: {reason}", hint="check its permissions") from error
    try:
        return parse_identities(data, lambda: ask(file))
    except InputError as error:
        raise InputError(error.message, hint=error.hint, where=Where(file)) from error


def new_identity(file: Path, passphrase: str | None) -> str:
    """Make an identity file, readable by its owner only, and return its recipient.

    Args:
        file: Where; it must not exist.
        passphrase: Protects the file, when there is one (as ``age -p`` does).

    Raises:
        InputError: the file exists, or cannot be written.
    """
    if file.exists() or file.is_symlink():
        raise InputError(
            f"there is already a file {file}: an identity is never written over",
            hint="secrets may depend on it; name another file with --identity",
        )
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# recipient: {recipient}\n{identity}\n".encode()
    if passphrase is not None:
        text = bytes(pyrage.passphrase.encrypt(text, passphrase, armored=True))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(file, text, mode=0o600)
    except OSError as error:
        raise InputError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    return recipient


class Recipients:
    """``keys/recipients.txt``: the public keys of all who may read the site's secrets, one a line.

    Beside it lies the digest of the recipients that every secret was last encrypted to: who is a recipient of an age
    file is hidden in it, and a key that was exchanged for another must not go unnoticed.
    """

    def __init__(self, site: Site) -> None:
        self.file = site.root / "keys" / "recipients.txt"
        self._digest_file = self.file.with_suffix(".rekeyed")

    def load(self) -> tuple[Recipient, ...]:
        """Return the recipients.

        Raises:
            InputErrors: there are none, or lines that are no recipients.
        """
        return tuple(self._numbered().values())

    def line_of(self, text: str) -> int | None:
        """Return the line in which a recipient stands, or None."""
        return next((line for line, recipient in self._numbered().items() if recipient.text == text), None)

    def _numbered(self) -> dict[int, Recipient]:
        try:
            lines = self.file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        found: dict[int, Recipient] = {}
        errors = ErrorCollector()
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            with errors.collect():
                try:
                    found[number] = parse_recipient(line)
                except InputError as error:
                    raise InputError(error.message, hint=error.hint, where=Where(self.file, number)) from error
        errors.check()
        if not found:
            raise InputError(
                f"there are no recipients: {self.file} is missing or empty",
                hint="make an identity and add its recipient: provision secrets init",
            )
        return found

    def add(self, text: str, comment: str) -> None:
        """Add a recipient at the end of the file."""
        before = self.file.read_text() if self.file.exists() else _RECIPIENTS_HEAD
        divider = "" if before.endswith("\n") else "\n"
        write_atomic(self.file, f"{before}{divider}# {comment}\n{text}\n")

    def digest(self) -> str:
        """Return a digest of the recipients; order and comments do not matter."""
        texts = sorted({recipient.text for recipient in self.load()})
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    def note_rekeyed(self) -> None:
        """Record that every secret of the site is encrypted to exactly these recipients."""
        write_atomic(self._digest_file, f"{self.digest()}\n")

    def rekeyed(self) -> bool | None:
        """Whether they are still those that every secret was last encrypted to; None when that was not recorded."""
        try:
            return self._digest_file.read_text().strip() == self.digest()
        except FileNotFoundError:
            return None


_RECIPIENTS_HEAD = """\
# Who can read the secrets of this site: age or SSH public keys, one a line.
# After a change: provision secrets rekey
"""


class Vault:
    """Decrypts values when they are needed, each once. The identity files are not even opened before.

    Args:
        files: Identity files.
        ask: Asks for the passphrase of one of them.
        recipients: Those of the site, to explain why a value cannot be decrypted.
    """

    def __init__(self, files: Sequence[Path], ask: Ask, recipients: Recipients) -> None:
        self.files = tuple(files)
        self._ask = ask
        self._recipients = recipients
        self._identities: tuple[Identity, ...] | None = None
        self._known: dict[Encrypted, str | InputError] = {}

    def identities(self) -> tuple[Identity, ...]:
        """Return the identities in the files.

        Raises:
            InputError: a file cannot be used.
        """
        if self._identities is None:
            self._identities = tuple(one for file in self.files for one in load_identities(file, self._ask))
        return self._identities

    def reveal(self, node: Node, prefix: Sequence[str] = ()) -> Mapping[Encrypted, str]:
        """Decrypt every encrypted value in ``node``.

        Args:
            node: A value of an inventory.
            prefix: The keys that lead to it, for errors.

        Raises:
            InputErrors: identity files that cannot be used, or values that cannot be decrypted.
        """
        revealed = {}
        errors = ErrorCollector()
        for path, found in node.encrypted(tuple(prefix)):
            assert isinstance(found.value, Encrypted)
            with errors.collect():
                revealed[found.value] = self._text(found.value, found.where(".".join(map(str, path))))
        errors.check()
        return revealed

    def _text(self, value: Encrypted, where: Where) -> str:
        known = self._known.get(value)
        if known is None:
            try:
                read_stanzas(value.armour)
            except InputError as error:
                known = error
            else:
                known = self._decrypted(value, self.identities())
            self._known[value] = known
        if isinstance(known, InputError):
            raise InputError(f"cannot be decrypted: {known.message}", hint=known.hint, where=where)
        return known

    def _decrypted(self, value: Encrypted, identities: Sequence[Identity]) -> str | InputError:
        try:
            return check_value(decrypt(value.armour, identities))
        except NoMatchError:
            return self._no_match(identities)
        except InputError as error:
            return error

    def _no_match(self, identities: Sequence[Identity]) -> InputError:
        files = ", ".join(map(str, self.files))
        try:
            line = next(filter(None, (self._recipients.line_of(one.recipient) for one in identities)), None)
        except InputError as error:
            return InputError(f"{files} does not fit, and {error}", hint=error.hint)
        if line is not None:
            return InputError(
                f"{files} is in line {line} of {self._recipients.file}, but the value was encrypted without it",
                hint="ask somebody who can read it for: provision secrets rekey",
            )
        return InputError(
            f"{files} is not among the recipients in {self._recipients.file}",
            hint="use another with --identity FILE, or have yours added there by somebody who then runs: "
            "provision secrets rekey",
        )


def check_value(data: bytes) -> str:
    """Return a secret as text.

    Raises:
        InputError: it is not text, or too short to be told from ordinary words in output.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError("the secret is not UTF-8 text", hint="encode it first, for example with base64") from error
    if len(text.strip()) < MIN_LENGTH or "\0" in text:
        raise InputError(
            f"a secret has at least {MIN_LENGTH} characters, and none that is NUL",
            hint="a shorter one could be guessed, and not be kept out of logs without garbling them",
        )
    return text
