"""pip, as a program of our own environment: it finds wheels, with its own configuration, and downloads them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from hatfleet.common.errors import CommandError, HatfleetError, InputError
from hatfleet.common.run import run
from hatfleet.runtimes.target import Target

_PIP = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input")

#: What pip says; the same since pip 20.
_NOTHING_FOUND = re.compile(r"No matching distribution found for (([A-Za-z0-9._-]+)\S*)")
_MISMATCH = re.compile(
    r"^ *(?P<what>[^\n]+?)(?: from [^\n]+)?:\n *Expected sha256 (?P<wanted>[0-9a-f]+)\n *Got +(?P<got>[0-9a-f]+)", re.M
)
_UNVERIFIED = re.compile(r"THESE PACKAGES DO NOT MATCH THE HASHES")
_CONFLICT = re.compile(r"ERROR: (Cannot install [^\n]+|ResolutionImpossible)")

#: Anything that may be the file name of a wheel, as a part of an address.
_WHEEL = re.compile(r"/([A-Za-z0-9._+%-]+\.whl)")

#: How many kinds of wheels an error names.
_NAMED = 8


def download(target: Target, arguments: Sequence[str | Path], folder: Path) -> list[Path]:
    """Have pip find wheels that fit a target and put them, with all they require, into a folder.

    Args:
        target: What they have to fit.
        arguments: Requirements, and options for pip.
        folder: Receives the wheels.

    Raises:
        InputError: there is no wheel for the target (the error says what there is), or they contradict each other.
        HatfleetError: a wheel has another hash than the wanted one, or pip cannot download.
    """
    try:
        run([*_PIP, "download", "--quiet", *_fitting(target), "--dest", folder, *arguments])
    except CommandError as error:
        raise _explained(error, target, folder) from error
    return sorted(folder.glob("*.whl"))


def _fitting(target: Target) -> list[str]:
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}", f"--abi={target.abi}"]
    return [*options, *(f"--platform={platform}" for platform in target.platforms)]


def _explained(error: CommandError, target: Target, folder: Path) -> HatfleetError:
    said = error.stderr
    if mismatch := _MISMATCH.search(said):
        return HatfleetError(
            f"{mismatch['what']}: its hash is another than the locked one: "
            f"found {mismatch['got']}, locked is {mismatch['wanted']}",
            hint="the package index gave another file under the same name; nothing of it was used",
        )
    if _UNVERIFIED.search(said):
        return HatfleetError("a wheel has another hash than the locked one; nothing of it was used")
    if found := _NOTHING_FOUND.search(said):
        return _nothing_found(found[1], found[2], target, folder)
    if found := _CONFLICT.search(said):
        return InputError(
            f"no set of wheels for {target} fulfils all requirements: {found[1]}",
            hint="provision runtimes lock --upgrade chooses all versions anew",
        )
    if "No module named pip" in said:
        return InputError("there is no pip beside hatfleet", hint=f"install it: {sys.executable} -m ensurepip")
    error.hint = "pip could not download: see what it says above; its own configuration (pip config list) is used"
    return error


def _nothing_found(wanted: str, name: str, target: Target, folder: Path) -> InputError:
    """Say what there is in place of a wheel that is not there."""
    kinds = existing(name, target, folder)
    if not kinds:
        return InputError(
            f"there is no wheel of {name} at all",
            hint="check its name, and that pip reaches its package index: pip download " + name,
        )
    there = ", ".join(kinds[:_NAMED]) + (f" and {len(kinds) - _NAMED} more" if len(kinds) > _NAMED else "")
    return InputError(
        f"there is no wheel of {wanted} for {target}: there is {there}",
        hint="choose another package or another version of it: nothing is compiled for a device",
    )


def existing(name: str, target: Target, folder: Path) -> list[str]:
    """Return the wheels that there are of a distribution, as "2.14.0 for cp311 linux_aarch64", newest first."""
    arguments: list[str | Path] = ["download", "-vv", "--no-deps", *_fitting(target), "--dest", folder, name]
    done = run([*_PIP, *arguments], check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    kinds: dict[str, tuple[object, str]] = {}
    for file in set(_WHEEL.findall(said)):
        try:
            found, version, _, tags = parse_wheel_filename(file)
        except InvalidWheelFilename:
            continue
        if found != canonicalize_name(name):
            continue
        pythons = "/".join(sorted({tag.interpreter for tag in tags}))
        platforms = "/".join(sorted({tag.platform for tag in tags}))
        kinds[f"{version} for {pythons} {platforms}"] = (version, pythons)
    return sorted(kinds, key=lambda kind: (kinds[kind], kind), reverse=True)
