"""Stage bootstrap: Debian packages, and nothing else, as a tar archive."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hatfleet.common.run import require_tool, run
from hatfleet.fleet.connectors.holder import EMULATED_CPU
from hatfleet.image.platforms import Platform
from hatfleet.image.suites import Suite

ARCHIVE = "rootfs.tar"

#: What every image needs beside what its platform and roles ask for; mmdebstrap's variant "apt" brings no more than
#: Debian's essential packages and apt. Checking the root file system needs e2fsprogs, the initramfs klibc-utils.
PACKAGES = (
    "e2fsprogs",
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

#: Variables of the builder that reach package scripts: how to get to the network, nothing else.
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


def package_list(platform: Platform, *further: Iterable[str]) -> tuple[str, ...]:
    """Return all packages of an image, sorted."""
    return tuple(sorted({*PACKAGES, *platform.packages, *(name for names in further for name in names)}))


def bootstrap(work: Path, *, suite: Suite, platform: Platform, packages: Sequence[str], log: Path) -> None:
    """Install packages from Debian's archive (mmdebstrap's default mirror) into a new root file system.

    mmdebstrap mounts and starts processes: it gets mount and process namespaces of its own, which end with it, and it
    ends with us.

    Raises:
        MissingToolError: mmdebstrap is not installed.
        CommandError: it failed: no network, an unknown package, no space.
    """
    tool, unshare = require_tool("mmdebstrap", "mmdebstrap"), require_tool("unshare", "util-linux")
    setpriv = require_tool("setpriv", "util-linux")
    scratch = work / "tmp"
    scratch.mkdir()
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(scratch),
        "SOURCE_DATE_EPOCH": str(suite.epoch_s),
        "QEMU_CPU": EMULATED_CPU,
        # Kernel packages would make an initramfs each time one of them is configured; it has a stage of its own.
        "INITRD": "No",
        **{name: os.environ[name] for name in _PROXY_VARIABLES if name in os.environ},
    }
    command = [setpriv, "--pdeathsig", "KILL", unshare, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [tool, "--mode=root", f"--architectures={platform.arch}", "--variant=apt", "--format=tar"]
    command += [f"--dpkgopt={option}" for option in (*EXCLUDED, UNSAFE_IO)]
    command += [f"--setup-hook={_HOST_KEY_PLACEHOLDERS}"]
    command += [f"--include={','.join(packages)}", suite.name, str(work / ARCHIVE)]
    run(command, env=env, log=log, hint=f"the whole output: {log}")
    scratch.rmdir()
