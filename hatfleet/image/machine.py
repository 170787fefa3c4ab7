"""What the building machine must have: tools, emulation, disk space. Checked before anything is made."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from hatfleet.common.errors import HatfleetError, InputError, MissingToolError
from hatfleet.common.run import require_tool, run
from hatfleet.image.disk import MIB

#: Programs that a build runs, and the Debian packages they come in.
TOOLS = {
    "bwrap": "bubblewrap",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "chroot": "coreutils",
    "tar": "tar",
    "zstd": "zstd",
}

#: Debian's architecture names of machines whose programs run without emulation, by ``uname -m``.
_NATIVE = {"aarch64": "arm64", "x86_64": "amd64"}

#: Names of architectures in QEMU and in binfmt_misc.
_EMULATOR = {"arm64": "aarch64"}

_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def require_machine(arch: str) -> None:
    """Check that this machine can build images for an architecture; register the emulator if need be.

    Raises:
        MissingToolError: a program is not installed.
        InputError: nothing is built on machines of this kind.
        HatfleetError: programs for ``arch`` cannot be run here.
    """
    for tool, package in TOOLS.items():
        require_tool(tool, package)
    if host_arch() != arch:
        register_emulator(_EMULATOR[arch])


def host_arch() -> str:
    """Return Debian's name of this machine's architecture.

    Raises:
        InputError: nothing is built on such machines.
    """
    arch = _NATIVE.get(platform.machine())
    if arch is None:
        known = ", ".join(_NATIVE)
        raise InputError(f"images are built on {known}; this machine is {platform.machine()}")
    return arch


def register_emulator(cpu: str) -> None:
    """Make the kernel run programs for another processor through QEMU, if it does not already.

    Debian registers the emulator at boot through systemd; a container or a minimal machine may not have done so.

    Raises:
        MissingToolError: QEMU's user emulation is not installed.
        HatfleetError: the kernel does not let us register it.
    """
    entry = _BINFMT / f"qemu-{cpu}"
    if entry.exists() and _usable(entry.read_text()):
        return
    definition = Path(f"/usr/lib/binfmt.d/qemu-{cpu}.conf")
    if not definition.is_file():
        raise MissingToolError(f"qemu-{cpu} user emulation", "qemu-user-static")
    try:
        if not (_BINFMT / "register").exists():
            run([require_tool("mount", "mount"), "-t", "binfmt_misc", "binfmt_misc", _BINFMT])
        if entry.exists():
            entry.write_text("-1")
        (_BINFMT / "register").write_text(definition.read_text().strip())
    except (OSError, HatfleetError) as error:
        raise HatfleetError(
            f"this machine cannot run {cpu} programs: registering QEMU with the kernel failed ({error})",
            hint="as root on the host: apt-get install qemu-user-static binfmt-support (a container: privileged)",
        ) from error


def _usable(entry: str) -> bool:
    """Whether a registration is on and carries the flag F: the emulator is opened outside the root file system."""
    flags = next((line for line in entry.splitlines() if line.startswith("flags:")), "")
    return entry.startswith("enabled") and "F" in flags


def require_space(folder: Path, needed_mib: int) -> None:
    """Check that there is room below a folder.

    Raises:
        InputError: there is not; the error names path, needed and free MiB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free_mib = shutil.disk_usage(folder).free // MIB
    if free_mib < needed_mib:
        raise InputError(
            f"not enough disk space in {folder}: {needed_mib} MiB needed, {free_mib} MiB free",
            hint="free some space (provision image cache prune), or set XDG_CACHE_HOME elsewhere",
        )
