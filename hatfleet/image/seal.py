"""Making a root file system read-only for good: what a device may write moves to where it can.

A sealed root has three kinds of files. *Image*: everything that stays as it is until another image is booted. *State*:
the few files that belong to one device; a role declares them, here they become links into ``/var/lib/hatfleet/state``.
*Variable data*: /var, the data partition. What packages and roles put into /var while the image was built becomes the
*factory* content that :file:`files/state.sh` lays down before the first program of the system runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hatfleet.common.errors import HatfleetError
from hatfleet.common.run import require_tool, run
from hatfleet.image import tree
from hatfleet.image.disk import DiskLayout
from hatfleet.ops.base import state_path

#: Where the image keeps what /var and the state begin with.
FACTORY, FACTORY_STATE = "usr/share/factory/var", "usr/share/factory/state"

#: Tells the device's own scripts which partition is which.
LAYOUT_FILE = "usr/lib/hatfleet/layout"

#: The paths that are links into the device's state, one a line.
STATE_LIST = "usr/lib/hatfleet/state.list"

#: dpkg's database describes the image: it must not stay behind in /var when another image is booted.
DPKG, DPKG_SEALED = "var/lib/dpkg", "usr/lib/hatfleet/dpkg"

#: In /var, but of no use to a device whose packages do not change.
_NOT_NEEDED = ("var/cache/apt/*", "var/cache/debconf/*", "var/lib/apt/*", "var/backups/*", "var/cache/ldconfig/*")

#: The first two run before the system's first program, started by the initramfs; the last when an admin asks for it.
SCRIPTS = ("files/state.sh", "files/grow-data.sh", "files/wipe.sh")

_FSTAB = """\
# Nothing is mounted from here. The initramfs has mounted / and /var; everything else is a unit of systemd.
"""

_BOOT_MOUNT = """\
[Unit]
Description=Boot partition of the running slot (/boot/firmware)

[Mount]
What=/dev/disk/by-slot/active/boot
Where=/boot/firmware
Type=vfat
Options=ro,nosuid,nodev,noexec,fmask=0133,dmask=0022

[Install]
WantedBy=local-fs.target
"""


@dataclass(frozen=True)
class Slot:
    """One of the two halves of the disk that hold a system."""

    letter: str
    other: str

    @property
    def boot(self) -> str:
        """Name of its boot partition."""
        return f"boot_{self.letter}"

    @property
    def system(self) -> str:
        """Name of its system partition."""
        return f"system_{self.letter}"


SLOTS = (Slot("a", "b"), Slot("b", "a"))


def seal(root: Path, *, state: Sequence[str], layout: DiskLayout) -> None:
    """Turn a finished, writable root file system into one that never changes.

    Args:
        root: The root file system.
        state: Absolute paths of the files that belong to the device.
        layout: The disk that it will lie on.

    Raises:
        HatfleetError: a declared state file is a folder.
    """
    for path in state:
        _link_into_state(root, path)
    tree.put(root, STATE_LIST, "".join(f"{path}\n" for path in sorted(state)))
    tree.put(root, LAYOUT_FILE, layout_text(layout))
    tree.put(root, "etc/fstab", _FSTAB)
    tree.put(root, "usr/lib/udev/rules.d/80-hatfleet-slots.rules", slot_rules(layout))
    tree.put(root, "usr/lib/systemd/system/boot-firmware.mount", _BOOT_MOUNT)
    tree.put_link(root, "usr/lib/systemd/system/local-fs.target.wants/boot-firmware.mount", "../boot-firmware.mount")
    # The id is a file of the state, mounted: systemd takes that for an id of this boot only, and fails to keep it.
    tree.put_link(root, "etc/systemd/system/systemd-machine-id-commit.service", "/dev/null")
    for script in SCRIPTS:
        file = Path(__file__).parent / script
        tree.put(root, f"usr/lib/hatfleet/{file.name}", file.read_text(), mode=0o755)
    _move_var(root)


def furnish(root: Path) -> None:
    """Give a sealed root file system its first /var and state, as :file:`files/state.sh` does on a device.

    For looking at it outside of a device; a root that was furnished is not sealed any more.
    """
    cp = require_tool("cp", "coreutils")
    run([cp, "-a", f"{root / FACTORY}/.", root / "var"])
    for path in (root / STATE_LIST).read_text().split():
        kept, target = root / FACTORY_STATE / path.lstrip("/"), root / state_path(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if kept.exists():
            run([cp, "-a", kept, target])


def layout_text(layout: DiskLayout) -> str:
    """Return the layout for a shell script: one variable a line."""
    data = layout.partition("data")
    lines = {
        "data_partuuid": data.partuuid,
        "data_number": str(data.number),
        "bootcfg_partuuid": layout.partition("bootcfg").partuuid,
    }
    return "# Which partition is which; read by the scripts beside this file.\n" + "".join(
        f"{name}={value}\n" for name, value in lines.items()
    )


def slot_rules(layout: DiskLayout) -> str:
    """Return udev rules that name the partitions by what they are for, whichever slot is running."""
    lines = [
        "# Which partitions belong to the running slot, which the initramfs has noted.",
        'SUBSYSTEM!="block", GOTO="hatfleet_end"',
        'ENV{DEVTYPE}!="partition", GOTO="hatfleet_end"',
        'ACTION=="remove", GOTO="hatfleet_end"',
        'IMPORT{file}="/run/hatfleet/slot"',
    ]
    for name in ("bootcfg", "data"):
        lines.append(f'ENV{{ID_PART_ENTRY_UUID}}=="{layout.partition(name).partuuid}", SYMLINK+="disk/by-slot/{name}"')
    for slot in SLOTS:
        for running, word in ((slot.letter, "active"), (slot.other, "other")):
            for name, what in ((slot.boot, "boot"), (slot.system, "system")):
                partuuid = layout.partition(name).partuuid
                match = f'ENV{{hatfleet.slot}}=="{running}", ENV{{ID_PART_ENTRY_UUID}}=="{partuuid}"'
                lines.append(f'{match}, SYMLINK+="disk/by-slot/{word}/{what}"')
    return "\n".join([*lines, 'LABEL="hatfleet_end"']) + "\n"


def _link_into_state(root: Path, path: str) -> None:
    target = tree.inside(root, path)
    if target.is_dir() and not target.is_symlink():
        raise HatfleetError(f"{path} is a folder; only single files can belong to a device's state")
    if target.exists() and not target.is_symlink():
        kept = root / FACTORY_STATE / path.lstrip("/")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(target, kept)
    tree.put_link(root, path, state_path(path))


def _move_var(root: Path) -> None:
    for pattern in _NOT_NEEDED:
        tree.remove(root, pattern)
    sealed = tree.inside(root, DPKG_SEALED)
    shutil.move(tree.inside(root, DPKG), sealed)
    tree.put_link(root, DPKG, f"/{DPKG_SEALED}")
    factory = tree.inside(root, FACTORY)
    factory.parent.mkdir(parents=True, exist_ok=True)
    if factory.exists():
        shutil.rmtree(factory)
    shutil.move(root / "var", factory)
    (root / "var").mkdir(mode=0o755)
