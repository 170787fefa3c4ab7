"""A root file system as a place where commands run, walled off from the machine that builds it.

A *holder* process owns private namespaces (mounts, processes, network, host name, IPC) in which the root file
system has its own /proc, /dev, /run and /tmp. Commands enter these namespaces and change root. What they cannot do:
see the builder's environment or processes, follow a symbolic link out to the builder's files, reach a network, set
the builder's kernel parameters or firewall. When the holder ends, however it ends, the kernel takes mounts and
processes away with the namespaces; the holder ends when its owner does, because it reads a pipe the owner holds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hatfleet.common.errors import CommandError, HatfleetError, InputError
from hatfleet.common.run import require_tool
from hatfleet.fleet.connectors.native import FOLDER, Loan

#: Processor that foreign programs are run on, by QEMU's name (QEMU_CPU). QEMU's default has pointer authentication,
#: which Debian's programs use in every function and whose emulation makes perl three times slower (measured: 1.9 s
#: against 0.6 s for deb-systemd-helper). This one has what Debian's arm64 requires.
EMULATED_CPU = "cortex-a72"

#: The environment of every command inside; a holder may add the day.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_OFFLINE": "1",
    "QEMU_CPU": EMULATED_CPU,
}

#: Folders that become mount points; they must be real folders inside the root.
MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp")

#: Asked by maintainer scripts before they start a service: 101 is "not allowed" (Debian policy, invoke-rc.d).
POLICY_RC_D = "usr/sbin/policy-rc.d"

#: How long the processes inside may take to end when they are told to, in seconds, before they are killed.
END_LIMIT_S = 10

# Runs in the new namespaces. /proc/sys is read-only because most of it is the builder's running kernel. Device nodes
# are the builder's own, mounted: nobody may make new ones in a user namespace.
# sync does nothing: after a crash of the builder's machine the whole root file system is made anew, and waiting for its
# disk takes longer than everything else.
_SETUP = """\
set -eu
root=$1 policy=$2 tree=$3
shift 3
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=0755,nosuid,noexec,size=1m tmpfs "$root/dev"
for node in null zero full random urandom tty; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5,nosuid,noexec devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
printf '#!/bin/sh\\nexit 101\\n' >"$root/run/policy-rc.d"
chmod 0755 "$root/run/policy-rc.d"
mount --bind "$root/run/policy-rc.d" "$root/$policy"
"""

_READY = """\
for program in "$root/usr/bin/sync" "$root/usr/bin/true"; do
	[ -f "$program" ] && [ ! -L "$program" ] || { echo ready; exec cat >/dev/null; }
done
mount --bind "$root/usr/bin/true" "$root/usr/bin/sync"
echo ready
exec cat >/dev/null
"""


@dataclass(frozen=True)
class Output:
    """What a command inside printed and how it ended (negative: by that signal)."""

    returncode: int
    stdout: bytes
    stderr: bytes


@dataclass
class Holder:
    """A root file system made ready to run commands; use it as a context manager.

    Args:
        root: The root file system, a folder that belongs to root.
        epoch_s: What programs write down as today, seconds since 1970 (SOURCE_DATE_EPOCH: useradd and usermod put the
            day of an account's last change into /etc/shadow). None: they look at the clock.
        native: A root file system of the same Debian release for the builder's processor: its plain programs work
            inside instead of emulated ones (see :mod:`hatfleet.fleet.connectors.native`). None: all programs are the
            root's own.

    Raises:
        InputError: on start, when we are not root.
        HatfleetError: on start, when the root file system cannot be set up, for example because one of its
            mount points is a symbolic link.
    """

    root: Path
    epoch_s: int | None = None
    native: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _loan: Loan | None = field(default=None, init=False)
    _made_policy: bool = field(default=False, init=False)

    def __enter__(self) -> Holder:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the namespaces and mounts."""
        if os.geteuid() != 0:
            raise InputError("working inside a root file system needs root", hint="run the same command with sudo")
        self.root = self.root.resolve(strict=True)
        self._check_mount_points()
        try:
            self._loan = self._borrow()
        except BaseException:
            self.stop()
            raise
        tool = require_tool("unshare", "util-linux")
        mounts, others = ("--mount", "--propagation", "private"), ("--net", "--uts", "--ipc")
        namespaces = (*mounts, *others, "--pid", "--fork", "--kill-child")
        self._process = subprocess.Popen(
            [tool, *namespaces, "/bin/sh", "-c", self._setup, "sh", str(self.root), POLICY_RC_D, str(self.native)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": ENVIRONMENT["PATH"]},
            process_group=0,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._process.stdout.readline() != b"ready\n":
            complaint = self._process.stderr.read().decode(errors="replace").strip()
            self.stop()
            raise HatfleetError(f"{self.root} cannot be made ready to run commands: {complaint}")

    def stop(self) -> None:
        """End everything inside; nothing stays mounted. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        loan, self._loan = self._loan, None
        if loan is not None:
            loan.end()
        if self._made_policy:
            (self.root / POLICY_RC_D).unlink(missing_ok=True)
            self._made_policy = False

    @property
    def search_path(self) -> str:
        """Where programs are looked up inside (PATH): lent ones first."""
        own = ENVIRONMENT["PATH"]
        return f"{FOLDER}:{own}" if self._loan else own

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Output:
        """Run a command inside, with a clean environment, and wait for it.

        Raises:
            TimeoutError: it took longer than ``timeout_s``; it is ended.
            HatfleetError: the holder is not running.
        """
        process = subprocess.Popen(
            [*self._enter(), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd="/",
            process_group=0,
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except BaseException as error:
            # nsenter's child is in the same process group, so that it ends too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"no result after {timeout_s:g} s") from error
            raise
        return Output(process.returncode, stdout, stderr)

    def check(self, argv: Sequence[str], *, stdin: bytes = b"") -> Output:
        """Like :meth:`execute`, but a non-zero exit status is an error.

        Raises:
            CommandError: the command failed.
        """
        output = self.execute(argv, stdin=stdin)
        if output.returncode != 0:
            raise CommandError(list(argv), output.returncode, output.stderr.decode(errors="replace"))
        return output

    @property
    def _environment(self) -> dict[str, str]:
        day = {} if self.epoch_s is None else {"SOURCE_DATE_EPOCH": str(self.epoch_s)}
        return {**ENVIRONMENT, "PATH": self.search_path, **day}

    @property
    def _setup(self) -> str:
        return _SETUP + (self._loan.script if self._loan else "") + _READY

    def _borrow(self) -> Loan | None:
        """Return the loan of native programs, if there are any to be lent."""
        if self.native is None:
            return None
        loan = Loan(self.root, self.native)
        return loan if loan.begin() else None

    def _enter(self) -> list[str]:
        if self._process is None or self._process.poll() is not None:
            raise HatfleetError(f"nothing holds {self.root} ready to run commands")
        holder = f"/proc/{self._process.pid}/ns"
        nsenter, chroot = require_tool("nsenter", "util-linux"), require_tool("chroot", "coreutils")
        entered = [f"--{kind}={holder}/{kind}" for kind in ("net", "uts", "ipc")]
        # unshare itself stays in the old process namespace; only its children are in the new one.
        entered += [f"--pid={holder}/pid_for_children", f"--mount={holder}/mnt"]
        return [nsenter, *entered, chroot, str(self.root)]

    def _check_mount_points(self) -> None:
        """Refuse a root file system whose mount points would lead somewhere else."""
        for point in MOUNT_POINTS:
            path = self.root / point
            if path.is_symlink() or not path.is_dir():
                raise HatfleetError(f"{path} must be a folder, and not a symbolic link, to be mounted on")
        policy = self.root / POLICY_RC_D
        if policy.parent.resolve() != policy.parent or policy.is_symlink():
            raise HatfleetError(f"{policy} lies behind a symbolic link")
        if not policy.exists():
            policy.touch(mode=0o755)
            self._made_policy = True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a holder and wait until every process inside is gone.

    The end of its input ends the first process of the namespace. The kernel then ends all others and lets the first
    be reaped only after them; so when unshare, its parent, is gone, they all are. Killing unshare first would lose
    the one who waits: it is the last resort.
    """
    try:
        process.communicate(timeout=END_LIMIT_S)
    except subprocess.TimeoutExpired:
        # unshare ignores SIGTERM while it waits for its child; --kill-child ends the child with it.
        process.kill()
        process.communicate()
