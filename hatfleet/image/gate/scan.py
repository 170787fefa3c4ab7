"""One walk over a root file system that finds what must not be in an image."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hatfleet.common.errors import HatfleetError, nearest
from hatfleet.image.gate import model
from hatfleet.image.gate.accounts import accounts, group_ids, judge_accounts
from hatfleet.image.gate.content import judge_content
from hatfleet.image.gate.identity import judge_identity
from hatfleet.image.gate.model import Finding, Report, Waived
from hatfleet.image.gate.policy import AllowedFile, Policy, RecipeFacts, policy_of
from hatfleet.image.gate.rights import Owners, judge_rights, other_rights
from hatfleet.image.gate.rootfs import Rootfs
from hatfleet.image.gate.sshkeys import judge_public_keys
from hatfleet.image.gate.units import Enabled, enabled_units, template_of

#: Where dpkg notes what is installed: its own place, and that of an image whose /var is the data partition.
STATUS_FILES = ("/usr/lib/hatfleet/dpkg/status", "/var/lib/dpkg/status")

#: Judged account by account, and so not again as text.
_ACCOUNT_FILES = frozenset(f"/etc/{name}{suffix}" for name in ("passwd", "shadow", "gshadow") for suffix in ("", "-"))

_INSTALLED = re.compile(r"^Package: (\S+)\n(?:[^\n]+\n)*?Status: \S+ \S+ installed$", re.MULTILINE)


def judge(root: Path, facts: RecipeFacts) -> Report:
    """Look for everything that must not be in an image.

    Args:
        root: The root file system in a folder; every file must be readable to us.
        facts: What the recipe declares.

    Raises:
        HatfleetError: something cannot be read, or the folder is no root file system: nothing is proven then.
    """
    started_s = time.monotonic()
    rootfs = Rootfs(root)
    if rootfs.read("/etc/passwd") is None:
        raise HatfleetError(f"{root} is no root file system: it has no /etc/passwd")
    policy = policy_of(facts, installed_packages(rootfs))
    walk = _Walk(rootfs, facts, policy)
    enabled = enabled_units(rootfs)
    findings = [
        *walk.findings(),
        *judge_accounts(rootfs, facts.accounts),
        *judge_identity(rootfs),
        *_judge_units(enabled, policy),
    ]
    findings.sort(key=lambda finding: (finding.rule, finding.path, finding.what))
    open_findings, waived, warnings = _settle(findings, facts.allow.files)
    warnings += [*_stale("setuid", facts.allow.setuid, walk.privileged)]
    warnings += [*_stale("units", facts.allow.units, _unit_names(enabled))]
    return Report(
        findings=tuple(open_findings),
        waived=tuple(waived),
        warnings=tuple(warnings),
        files=walk.files,
        size_bytes=walk.size_bytes,
        seconds=time.monotonic() - started_s,
    )


def installed_packages(rootfs: Rootfs) -> frozenset[str]:
    """Return the names of the Debian packages that are installed."""
    return frozenset(name for path in STATUS_FILES for name in _INSTALLED.findall(rootfs.text(path)))


class _Walk:
    """Judges every file and folder, and counts."""

    def __init__(self, rootfs: Rootfs, facts: RecipeFacts, policy: Policy) -> None:
        self._rootfs = rootfs
        self._keys = facts.authorized_keys
        self._setuid = policy.setuid
        known = accounts(rootfs)
        self._owners = Owners(frozenset(account.uid for account in known), group_ids(rootfs))
        self.privileged: set[str] = set()
        """Programs that give the rights of others."""
        self.files = 0
        self.size_bytes = 0

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with each file and folder on its own."""
        for entry in self._rootfs.walk():
            yield from judge_rights(entry, self._owners)
            if not entry.is_file:
                continue
            self.files += 1
            self.size_bytes += entry.status.st_size
            if rights := other_rights(entry):
                self.privileged.add(entry.path)
                if entry.path not in self._setuid:
                    yield Finding.of(model.SETID, entry.path, rights)
            if entry.path not in _ACCOUNT_FILES and entry.status.st_size:
                data = entry.read()
                yield from judge_content(entry.path, data)
                yield from judge_public_keys(entry.path, data, self._keys)


def _judge_units(enabled: Iterable[Enabled], policy: Policy) -> Iterator[Finding]:
    for unit in enabled:
        if not {unit.name, template_of(unit.name)} & policy.units:
            yield Finding.of(model.UNIT, unit.path, f"starts {unit.name}, which is not on the list")


def _unit_names(enabled: Iterable[Enabled]) -> set[str]:
    return {name for unit in enabled for name in (unit.name, template_of(unit.name))}


def _settle(
    findings: Iterable[Finding], allowed: Iterable[AllowedFile]
) -> tuple[list[Finding], list[Waived], list[str]]:
    """Part the findings in those that stand and those that the recipe allows; warn of entries that allow nothing."""
    entries = {(entry.path, entry.sha256): entry for entry in allowed}
    standing, waived = [], []
    for finding in findings:
        entry = entries.get((finding.path, finding.sha256))
        if entry is None:
            standing.append(finding)
        else:
            waived.append(Waived(finding, entry.reason))
    used = {(item.finding.path, item.finding.sha256) for item in waived}
    changed = {finding.path for finding in standing if finding.sha256}
    warnings = [
        f"allow.files: {path} "
        + ("has another content than the allowed one" if path in changed else "has nothing that needs to be allowed")
        for path, digest in entries
        if (path, digest) not in used
    ]
    return standing, waived, warnings


def _stale(kind: str, allowed: Iterable[str], found: set[str]) -> Iterator[str]:
    """Yield a warning for every entry of the recipe that allows nothing."""
    for name in allowed:
        if name not in found:
            close = nearest(name, found, 0.8)
            yield f"allow.{kind}: there is no {name} in the image" + (f"; did you mean {close}?" if close else "")
