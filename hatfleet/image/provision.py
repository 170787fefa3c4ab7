"""Stage provision: the bootstrapped packages, the image's own files, and what the roles' image halves make of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from hatfleet.common.errors import HatfleetError
from hatfleet.common.site import Site
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.job import HostJob, Job, Mode
from hatfleet.fleet.results import Event, HostState, OpStarted
from hatfleet.fleet.roles import Half, KernelDriver, load_role_code
from hatfleet.fleet.runner import run_job
from hatfleet.image import gate, tree
from hatfleet.image.bootstrap import ARCHIVE, UNSAFE_IO
from hatfleet.image.disk import DiskLayout
from hatfleet.image.modules import install_drivers
from hatfleet.image.recipe import Recipe
from hatfleet.image.seal import seal

#: Where the boot partition is mounted, as on Raspberry Pi OS.
BOOT_FOLDER = "boot/firmware"
CMDLINE = f"{BOOT_FOLDER}/cmdline.txt"

#: Folder of the stage's output with what lay there, and what the gate said of the rest.
BOOT_CONTENT, GATE_FILE = "boot", "gate.json"

_NETWORK = """\
# Every wired link asks for an address; the role of a device may lay a file before this one.
[Match]
Type=ether

[Network]
DHCP=yes
"""

_HOSTS = """\
127.0.0.1 localhost
127.0.1.1 {name}
::1 localhost ip6-localhost ip6-loopback
"""

_UNITS = ("systemd-networkd.service", "systemd-resolved.service")

#: What must not be the same on two devices, what belongs to the builder, and what only building needs.
_LEFTOVERS = (
    "boot/System.map-*",
    "boot/initrd.img*",
    "boot/vmlinuz-*",
    "etc/.resolv.conf.systemd-resolved.bak",
    "etc/ssh/ssh_host_*",
    "initrd.img*",
    "etc/.pwd.lock",
    "mnt/*",
    "root/.ssh",
    "usr/lib/linux-image-*",
    "usr/lib/raspi-firmware",
    "usr/sbin/policy-rc.d",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/systemd/random-seed",
    "vmlinuz*",
)


@dataclass(frozen=True)
class CompiledDrivers:
    """Kernel drivers, and the stages' outputs that they are in."""

    drivers: tuple[KernelDriver, ...]
    toolchain: Path
    """Output of the stage toolchain."""
    modules: Path
    """Output of the stage modules."""


def provision(
    work: Path,
    *,
    bootstrap: Path,
    native: Path,
    compiled: CompiledDrivers | None,
    environments: Mapping[str, Path],
    recipe: Recipe,
    layout: DiskLayout,
    site: Site,
    log: Path,
    progress: Callable[[str], None],
) -> None:
    """Make the root file system of the image, read-only for good, as a tar archive.

    Args:
        work: Receives ``rootfs.tar``, and :data:`BOOT_CONTENT` with what roles put onto the boot partition.
        bootstrap: Output of the stage bootstrap.
        native: The tools tree, which lends programs that need no emulation.
        compiled: The drivers that were compiled for this kernel, if there are any.
        environments: Archives of Python environments, by where each lies on the device.
        recipe: What to make.
        layout: The disk that it will lie on.
        site: The site whose roles run.
        log: Receives what tools and failing operations print.
        progress: Told what is being done.

    Raises:
        HatfleetError: an operation of a role failed.
    """
    root = work / "root"
    tree.unpack(bootstrap / ARCHIVE, root, log, without="./dev/*")
    if compiled:
        progress("installing drivers")
        install_drivers(root, toolchain=compiled.toolchain, built=compiled.modules, drivers=compiled.drivers, log=log)
    lay_down(root, recipe, native)
    for prefix, archive in environments.items():
        tree.unpack(archive, tree.inside(root, prefix), log)
    run_roles(root, recipe, site.root, log, progress, native=native)
    tidy(root)
    progress("sealing")
    shutil.move(tree.inside(root, BOOT_FOLDER), work / BOOT_CONTENT)
    tree.inside(root, BOOT_FOLDER).mkdir()
    state = {path for role in recipe.roles for path in load_role_code(site, role.name).state}
    seal(root, state=sorted(state), layout=layout)
    progress("looking for what must not be in an image")
    report = gate.judge(root, gate.recipe_facts(recipe.roles, recipe.allow))
    (work / GATE_FILE).write_text(TypeAdapter(gate.Report).dump_json(report, indent=1).decode() + "\n")
    tree.pack(root, work / ARCHIVE, recipe.suite.epoch_s, log)
    shutil.rmtree(root)


def read_gate(folder: Path) -> gate.Report:
    """Return what the gate said of a finished stage's root file system."""
    return TypeAdapter(gate.Report).validate_json((folder / GATE_FILE).read_bytes())


def lay_down(root: Path, recipe: Recipe, native: Path | None = None) -> None:
    """Write the files that make a root file system this image: names, network, kernel command line."""
    arguments = recipe.platform.arguments_for(recipe.options)
    about = {"name": recipe.name, "version": recipe.version, "platform": recipe.platform.name}
    tree.put(root, "etc/hostname", f"{recipe.name}\n")
    tree.put(root, "etc/hosts", _HOSTS.format(name=recipe.name))
    tree.put(root, "etc/systemd/network/80-wired.network", _NETWORK)
    tree.put_link(root, "etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    tree.put(root, CMDLINE, " ".join(arguments) + "\n")
    for file in recipe.platform.files_for(recipe.options):
        tree.put(root, file.path, file.content, file.mode)
    tree.put(root, "usr/lib/hatfleet/image.json", json.dumps(about, indent=2) + "\n")
    os_release = tree.inside(root, "usr/lib/os-release").read_text()
    tree.put(root, "usr/lib/os-release", f'{os_release}IMAGE_ID="{recipe.name}"\nIMAGE_VERSION="{recipe.version}"\n')
    _forget_unsafe_io(root)
    # Devices make their own at first boot.
    tree.put(root, "etc/machine-id", "uninitialized\n", mode=0o444)
    with Holder(root, native=native) as holder:
        holder.check(["systemctl", "--quiet", "enable", *_UNITS])


def run_roles(
    root: Path, recipe: Recipe, site: Path, log: Path, progress: Callable[[str], None], *, native: Path | None = None
) -> None:
    """Run the image halves of the recipe's roles in the root file system.

    Raises:
        HatfleetError: an operation failed.
    """
    if not recipe.roles:
        return

    def follow(event: Event) -> None:
        if isinstance(event, OpStarted):
            progress(f"{event.role}: {event.name}")

    day = recipe.suite.epoch_s
    host = HostJob(name=recipe.name, rootfs=root, rootfs_epoch_s=day, rootfs_native=native, roles=recipe.roles)
    report = run_job(Job(mode=Mode.APPLY, site=site, halves=(Half.IMAGE,), hosts=(host,)), follow)
    result = report.hosts[0]
    with log.open("a") as handle:
        for operation in result.operations:
            handle.write(f"{operation.status} {operation.role}: {operation.name} {operation.seconds:.1f} s\n")
        handle.write(f"{result.state} {result.error}\n")
    if result.state is HostState.INTERRUPTED:
        raise KeyboardInterrupt
    if result.state not in (HostState.OK, HostState.CHANGED):
        raise HatfleetError(result.error, hint=f"every operation so far: {log}")


def tidy(root: Path) -> None:
    """Remove what must not be in an image, and empty the logs that building wrote."""
    for pattern in _LEFTOVERS:
        tree.remove(root, pattern)
    logs = tree.inside(root, "var/log")
    for path in sorted(logs.rglob("*")):
        if path.is_file() and not path.is_symlink():
            path.unlink()
    _mark_updated(root)
    for point in ("dev", "proc", "run", "sys", "tmp", "var/tmp"):
        tree.remove(root, f"{point}/*")
        tree.remove(root, f"{point}/.[!.]*")
    tree.put(root, "etc/machine-id", "uninitialized\n", mode=0o444)


def _mark_updated(root: Path) -> None:
    """Say that what systemd derives from /usr is there already (systemd-update-done.service(8)).

    Packages have made the linker's cache and the journal's catalogue; a device would make them again at its first boot.
    All files of an image have one time, so that /usr is not newer than these marks.
    """
    for folder in ("etc", "var"):
        tree.put(root, f"{folder}/.updated", "# Made with the image.\n")


def _forget_unsafe_io(root: Path) -> None:
    """Take the one option for building out of dpkg's configuration; the exclusions hold on the device too."""
    for path in tree.inside(root, "etc/dpkg/dpkg.cfg.d").glob("*"):
        if path.is_symlink():
            continue
        lines = path.read_text().splitlines(keepends=True)
        tree.put(root, f"etc/dpkg/dpkg.cfg.d/{path.name}", "".join(line for line in lines if line.strip() != UNSAFE_IO))
