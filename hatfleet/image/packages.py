"""Stage packages: the Debian packages of a root file system, fetched once, with the index that a build installs from.

Everything after this stage works without a network: the same packages give the same image, whatever the archive
offers by then. apt itself resolves and downloads (inside mmdebstrap, which brings the archive's keys and the default
mirror), so signatures and hashes are checked as on every Debian system; each file is checked against the signed index
once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.run import require_tool, run
from hatfleet.image.suites import Suite

#: Output of the stage: a folder with the packages and an index, what is in it, and the sources they came from.
REPOSITORY, CONTENTS, SOURCES = "repository", "packages.json", "sources.list"

#: Packages that Debian says every system has, as a pattern of apt's, and apt.
BASE = ("?essential", "apt")

#: Variables of the builder that reach apt: how to get to the network, nothing else.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, order=True)
class Package:
    """A Debian package as it stands in an archive's index."""

    name: str
    version: str
    arch: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Origin:
    """Where packages come from."""

    mirror: str | None = None
    """A mirror of Debian in place of the default one, such as a snapshot of a day."""
    components: tuple[str, ...] = ("main",)
    """Components of Debian's archive."""
    further: Path | None = None
    """Archives beside Debian's: a file for sources.list.d."""


def fetch(
    work: Path, *, suite: Suite, arch: str, wanted: Sequence[str], origin: Origin, log: Path, essential: bool = True
) -> None:
    """Download packages and all they need, and write the index of what came.

    Args:
        work: Receives :data:`REPOSITORY`, :data:`CONTENTS` and :data:`SOURCES`.
        suite: Debian release.
        arch: Debian's name of the processor architecture.
        wanted: Names of packages, ``name=version`` for an exact version.
        origin: Where from.
        log: Receives what the tools print.
        essential: Fetch Debian's essential packages too; false when ``wanted`` is complete (from a lock).

    Raises:
        MissingToolError: mmdebstrap is not installed.
        CommandError: no network, an unknown package or version.
        HatfleetError: a package is not what the index says.
    """
    tool = require_tool("mmdebstrap", "mmdebstrap")
    scratch, fetched = work / "tmp", work / REPOSITORY
    scratch.mkdir()
    (work / "lists").mkdir()
    fetched.mkdir()
    hook = (
        f'cp "$1"/var/cache/apt/archives/*.deb {shlex.quote(str(fetched))} && '
        f'cp "$1"/var/lib/apt/lists/*_Packages {shlex.quote(str(work / "lists"))} && '
        f'cp "$1"/etc/apt/sources.list {shlex.quote(str(work / SOURCES))}'
    )
    command = [tool, "--mode=root", f"--architectures={arch}", "--variant=extract", "--format=null"]
    # Nothing is cleaned away before the hook has copied it; what is unpacked is thrown away.
    command += ["--skip=cleanup/apt,chroot/mount,check/qemu", f"--extract-hook={hook}"]
    command += [f"--include={name}" for name in ((*BASE, *wanted) if essential else wanted)]
    command += [f"--components={','.join(origin.components)}"]
    if origin.further:
        command += [f'--setup-hook=cp {shlex.quote(str(origin.further))} "$1"/etc/apt/sources.list.d/']
    command += [suite.name, "-", *([origin.mirror] if origin.mirror else [])]
    try:
        run(namespaced(command, network=True), env=environment(scratch, suite), log=log)
    except CommandError as error:
        raise _explained(error, log) from error
    shutil.rmtree(scratch)
    contents = write_index(fetched, sorted((work / "lists").iterdir()))
    shutil.rmtree(work / "lists")
    (work / CONTENTS).write_text(json.dumps([asdict(package) for package in contents], indent=1) + "\n")


def namespaced(command: Sequence[str], *, network: bool) -> list[str]:
    """Return a command in mount and process namespaces of its own, which end with it and with us."""
    setpriv, unshare = require_tool("setpriv", "util-linux"), require_tool("unshare", "util-linux")
    apart = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if network else ["--net"])]
    return [setpriv, "--pdeathsig", "KILL", unshare, *apart, *command]


def environment(scratch: Path, suite: Suite) -> dict[str, str]:
    """Return the variables with which mmdebstrap runs."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(scratch),
        "SOURCE_DATE_EPOCH": str(suite.epoch_s),
        **{name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ},
    }


def write_index(repository: Path, lists: Sequence[Path]) -> tuple[Package, ...]:
    """Check packages against the archives' indexes and write an index of just these, as a flat repository has it.

    Raises:
        HatfleetError: a file is in no index, or differs from what the index says.
    """
    known: dict[str, str] = {}
    for index in lists:
        for stanza in index.read_text().split("\n\n"):
            if stanza.strip():
                known.setdefault(_field(stanza, "SHA256"), stanza.strip("\n"))
    packages: list[Package] = []
    stanzas: list[str] = []
    for file in sorted(repository.glob("*.deb")):
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest not in known:
            raise HatfleetError(f"{file.name} is not what the archive's index says: no entry has its sha256 {digest}")
        stanza = known[digest]
        lines = [line for line in stanza.splitlines() if not line.startswith("Filename:")]
        stanzas.append("\n".join([*lines, f"Filename: ./{file.name}"]) + "\n")
        name, version, arch = (_field(stanza, key) for key in ("Package", "Version", "Architecture"))
        packages.append(Package(name, version, arch, digest, file.stat().st_size))
    (repository / "Packages").write_text("\n".join(stanzas))
    return tuple(sorted(packages))


def read_contents(folder: Path) -> tuple[Package, ...]:
    """Return what a finished stage fetched."""
    return tuple(Package(**entry) for entry in json.loads((folder / CONTENTS).read_text()))


def _field(stanza: str, key: str) -> str:
    for line in stanza.splitlines():
        if line.startswith(f"{key}: "):
            return line.partition(": ")[2]
    raise HatfleetError(f"an entry of the archive's index has no {key}: {stanza.splitlines()[0]}")


def _explained(error: CommandError, log: Path) -> HatfleetError:
    """Turn what apt said into an error that says what to do."""
    said = log.read_text(errors="replace")
    missing = sorted(set(_quoted(said)))
    if missing:
        return HatfleetError(
            f"the archive does not have {', '.join(missing)}",
            hint="check the names in the recipe; when the archive has dropped versions of a lock, make it anew "
            "(provision image lock), or set mirror in the recipe to a snapshot of the day",
        )
    return HatfleetError(f"fetching packages failed: {error}", hint=f"is there a network? the whole output: {log}")


def _quoted(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if "Unable to locate package" in line:
            yield line.rpartition(" ")[2]
        elif "Version '" in line and "was not found" in line:
            version, name = line.split("'")[1], line.split("'")[3]
            yield f"{name} {version}"
