"""What the gate finds: its rules, findings and report. Data first, rendered elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from hatfleet.common.errors import ExitCode, HatfleetError


@dataclass(frozen=True)
class Rule:
    """Something that must not be in an image."""

    id: str
    title: str
    """What is guaranteed, as a sentence that is true when nothing is found."""
    fix: str
    """What an admin does about a finding."""


PRIVATE_KEY = Rule(
    "HF-IMG-001",
    "There is no private key in it",
    "remove the file; a device makes its own keys at its first boot. A test key in a package: allow.files",
)
HOST_KEY = Rule(
    "HF-IMG-002",
    "There is no SSH host key in it, neither half",
    "remove it; the role base makes one on each device at its first boot",
)
PASSWORD_HASH = Rule(
    "HF-IMG-003",
    "There is no password hash in it, also none that is locked",
    "remove it and lock the account (passwd -l on an account without a password); log in with SSH keys",
)
PASSPHRASE = Rule(
    "HF-IMG-004",
    "There is no passphrase of a network in it",
    "give it to each device by its inventory, encrypted; never by the image",
)
TOKEN = Rule(
    "HF-IMG-005",
    "There is no access token of an online service in it",
    "withdraw the token, because it may be known, and remove it; a device gets its own by the inventory",
)
ACCOUNT = Rule(
    "HF-IMG-006",
    "There is no account for people but the declared one",
    "remove the account (base.users_absent), or declare it: the role base makes the admin's account",
)
OPEN_ACCOUNT = Rule(
    "HF-IMG-007",
    "Nobody can log in with a password, or without one",
    "lock the account: passwd -l NAME",
)
AUTHORIZED_KEY = Rule(
    "HF-IMG-008",
    "Every SSH public key in it is a declared one",
    "declare the key (base.admin.authorized_keys), or remove the line",
)
IDENTITY = Rule(
    "HF-IMG-009",
    "Nothing in it is to be unique and would be the same on every device",
    "remove the file, or empty it; systemd makes it anew at the first boot",
)
WORLD_WRITABLE = Rule(
    "HF-IMG-010",
    "Nothing in it can be changed by everybody",
    "chmod o-w the file; a folder for everybody needs the sticky bit (chmod +t)",
)
NO_OWNER = Rule(
    "HF-IMG-011",
    "Every file belongs to an account and a group of the image",
    "chown the file, or make the account in the role that brings the file",
)
SETID = Rule(
    "HF-IMG-012",
    "Only allowed programs get the rights of another user",
    "chmod ug-s (or setcap -r) the file, or name its path with a reason under allow.setuid",
)
UNIT = Rule(
    "HF-IMG-013",
    "Only allowed units are started",
    "disable or mask the unit, or name it under allow.units",
)
LISTEN = Rule(
    "HF-IMG-014",
    "Only allowed sockets wait for the network, on the booted image",
    "stop or bind the program elsewhere, or name the socket under allow.listen",
)

#: Every rule, in the order of the reference (docs/reference/image-gate.md).
RULES = (
    PRIVATE_KEY,
    HOST_KEY,
    PASSWORD_HASH,
    PASSPHRASE,
    TOKEN,
    ACCOUNT,
    OPEN_ACCOUNT,
    AUTHORIZED_KEY,
    IDENTITY,
    WORLD_WRITABLE,
    NO_OWNER,
    SETID,
    UNIT,
    LISTEN,
)


@dataclass(frozen=True)
class Finding:
    """One thing that must not be in the image. It never holds the secret itself."""

    rule: str
    """Id of the rule, such as HF-IMG-001."""
    path: str
    """Where it is: a path on the device, or a socket such as tcp/8080."""
    what: str
    fix: str
    sha256: str = ""
    """Digest of the file, for what was found in its content: what allow.files asks for."""

    @classmethod
    def of(cls, rule: Rule, path: str, what: str, sha256: str = "") -> Finding:
        """Make a finding of a rule."""
        return cls(rule.id, path, what, rule.fix, sha256)

    def __str__(self) -> str:
        return f"{self.rule} {self.path}: {self.what}"


@dataclass(frozen=True)
class Waived:
    """A finding that the recipe allows, and why."""

    finding: Finding
    reason: str


@dataclass(frozen=True)
class Report:
    """All that the gate found in a root file system."""

    findings: tuple[Finding, ...]
    waived: tuple[Waived, ...]
    warnings: tuple[str, ...]
    """What is no reason to refuse the image: entries of the recipe's allow-list that allow nothing."""
    files: int
    """How many regular files were looked at."""
    size_bytes: int
    """Their size together."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the image may be used."""
        return not self.findings


class RejectedError(HatfleetError):
    """An image was refused (exit code 5).

    Args:
        findings: What the gate found.
        controls: Controls of roles that failed, a text each.
        kept: Where the refused image is.
    """

    exit_code = ExitCode.CHECK_FAILED

    def __init__(self, findings: Iterable[Finding], *, controls: Sequence[str] = (), kept: Path | None = None) -> None:
        self.findings = tuple(findings)
        troubles = [f"{finding}\n        {finding.fix}" for finding in self.findings] + [*controls]
        super().__init__(
            f"the image is refused, {len(troubles)} findings:" + "".join(f"\n    {trouble}" for trouble in troubles),
            hint=f"for a closer look the refused image is kept in {kept}" if kept else None,
        )


def report_json(report: Report) -> str:
    """Return a report as JSON."""
    data = TypeAdapter(Report).dump_python(report, mode="json")
    return json.dumps({"passed": report.passed, **data}, indent=2, ensure_ascii=False)
