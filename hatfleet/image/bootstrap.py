"""Stage bootstrap: Debian packages, and nothing else, as a tar archive."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hatfleet.common.run import require_tool, run
from hatfleet.fleet.connectors.holder import EMULATED_CPU
from hatfleet.image.packages import REPOSITORY, SOURCES, environment, namespaced
from hatfleet.image.suites import Suite

ARCHIVE = "rootfs.tar"

#: What every image needs beside what its platform and roles ask for; mmdebstrap's variant "apt" brings no more than
#: Debian's essential packages and apt. The initramfs takes klibc-utils and dmsetup; the data partition is grown with
#: fdisk and made with e2fsprogs.
PACKAGES = (
    "dmsetup",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "klibc-utils",
    "kmod",
    "login",
    "mount",
    "passwd",
    "procps",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
)

#: What packages bring and a device does not read. Licences stay. The hardware database names input devices, cameras
#: and vendors; compiling it takes as long as the whole rest of udev's installation.
EXCLUDED = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/lib/udev/hwdb.d/*",
)

#: Lets dpkg skip its fsync calls; the archive is whole or it does not exist. Taken out again with the next stage.
UNSAFE_IO = "force-unsafe-io"

#: openssh-server makes host keys when it is installed, and does not where there are some already: these are empty, and
#: go with the next stage. No image ever had a key, and the emulated search for RSA primes is spared.
_HOST_KEY_PLACEHOLDERS = (
    'mkdir -p "$1/etc/ssh"; for t in rsa ecdsa ed25519; do touch "$1/etc/ssh/ssh_host_${t}_key"; done'
)

#: Shows the build's own repository to apt inside the new root file system (part of the package mmdebstrap).
_AUTOMOUNT = "/usr/share/mmdebstrap/hooks/file-mirror-automount"

#: Where the repository is, in the build's own mounts: the hook makes the same folder in the root file system, where no
#: path of the builder's may be.
_MOUNTED = "/mnt/packages"

_MOUNT = (
    "set -eu; mount -t tmpfs -o mode=0755 tmpfs /mnt; mkdir /mnt/packages; "
    'mount --bind "$1" /mnt/packages; shift; exec "$@"'
)


def package_list(*further: Iterable[str]) -> tuple[str, ...]:
    """Return all packages of an image, sorted."""
    return tuple(sorted({*PACKAGES, *(name for names in further for name in names)}))


def bootstrap(work: Path, *, fetched: Path, suite: Suite, arch: str, packages: Sequence[str], log: Path) -> None:
    """Install packages that were fetched before into a new root file system, without a network.

    Args:
        work: Receives ``rootfs.tar``.
        fetched: Output of the stage packages.
        suite: Debian release.
        arch: Debian's name of the processor architecture.
        packages: What to install beside Debian's essential packages and apt.
        log: Receives what the tools print.

    Raises:
        MissingToolError: mmdebstrap is not installed.
        CommandError: it failed: no space, a package that does not install.
    """
    tool = require_tool("mmdebstrap", "mmdebstrap")
    scratch = work / "tmp"
    scratch.mkdir()
    env = environment(scratch, suite)
    env["QEMU_CPU"] = EMULATED_CPU
    # Kernel packages would make an initramfs each time one of them is configured; it has a stage of its own.
    env["INITRD"] = "No"
    # The devices' own sources take the place of the build's, which means nothing to them.
    sources = (
        'rm -rf "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/sources.list; '
        f'cp {shlex.quote(str(fetched / SOURCES))} "$1"/etc/apt/sources.list; chmod 644 "$1"/etc/apt/sources.list'
    )
    command = [
        "/bin/sh",
        "-c",
        _MOUNT,
        "sh",
        str(fetched / REPOSITORY),
        tool,
        "--mode=root",
        f"--architectures={arch}",
        "--variant=apt",
        "--format=tar",
    ]
    command += [f"--dpkgopt={option}" for option in (*EXCLUDED, UNSAFE_IO)]
    command += [f"--hook-dir={_AUTOMOUNT}", f"--setup-hook={_HOST_KEY_PLACEHOLDERS}", f"--customize-hook={sources}"]
    command += [f"--include={','.join(packages)}", suite.name, str(work / ARCHIVE)]
    # Each file was checked against the archives' signed indexes when it was fetched.
    command += [f"deb [trusted=yes] file://{_MOUNTED} ./"]
    run(namespaced(command, network=False), env=env, log=log, hint=f"the whole output: {log}")
    scratch.rmdir()
