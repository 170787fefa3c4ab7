"""What the lab knows of a device: its folder, the record in it, and the look-up by name."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hatfleet.common.errors import InputError, Where, nearest
from hatfleet.common.files import write_atomic
from hatfleet.common.locks import file_lock
from hatfleet.common.paths import state_dir

#: Every device can be reached on this address only; nothing in the lab listens for other machines.
ADDRESS = "127.0.0.1"

#: Numbers in device names are two digits (edge-01).
MAX_DEVICES = 99

_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}-[0-9]{2}")


class Device(BaseModel):
    """A virtual device, as recorded in its folder (``device.json``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    image: Path
    """The disk image under the device's own disk; only ever read."""
    image_identity: str
    """What tells the image from another one under the same path (see lab/images.py)."""
    user: str
    """The admin user that the image was built with."""
    memory_mib: int = Field(gt=0)
    cpus: int = Field(gt=0)
    port: int = Field(gt=0, lt=65536)
    """The SSH port on the loopback address."""
    host_key: str | None = None
    """The SSH host key, pinned when the device first came up; None until then."""
    boot_key: str | None = None
    """The public key (PEM) that boot.img must be signed with; None: the device boots anything."""

    @property
    def folder(self) -> Path:
        """Where the device's files lie."""
        return lab_dir() / self.name

    @property
    def disk(self) -> Path:
        """The device's own disk: what it wrote, on top of the image (qcow2)."""
        return self.folder / "disk.qcow2"

    @property
    def console_log(self) -> Path:
        """Everything the serial console has said since the device was made."""
        return self.folder / "console.log"

    @property
    def pid_file(self) -> Path:
        """Where QEMU notes its process id."""
        return pid_file(self.name)

    @property
    def supervisor_pid_file(self) -> Path:
        """Where the supervisor notes its process id: the device is on as long as this process runs."""
        return supervisor_pid_file(self.name)

    def save(self) -> None:
        """Write the record."""
        write_atomic(self.folder / "device.json", self.model_dump_json(indent=2) + "\n")


def lab_dir() -> Path:
    """Return the folder of everything that belongs to the lab."""
    return state_dir() / "lab"


def device_names(prefix: str, count: int) -> list[str]:
    """Return the names of ``count`` devices: edge-01, edge-02, …

    Raises:
        InputError: the prefix is no host name or the count is out of range.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"{prefix!r} cannot begin a device name",
            hint="use lower-case letters, digits and hyphens, a letter first, 31 characters at most",
        )
    if not 1 <= count <= MAX_DEVICES:
        raise InputError(f"{count} devices cannot be made", hint=f"give a number from 1 to {MAX_DEVICES}")
    return [f"{prefix}-{number:02d}" for number in range(1, count + 1)]


def devices() -> list[Device]:
    """Return all devices of the lab, running or not, by name.

    Raises:
        InputError: a record cannot be read.
    """
    base = lab_dir()
    names = sorted(folder.name for folder in base.iterdir()) if base.is_dir() else []
    return [device for name in names if (device := find_device(name)) is not None]


def load_device(name: str) -> Device:
    """Return the device of that name.

    Raises:
        InputError: there is none, or its record cannot be read.
    """
    device = find_device(name)
    if device is None:
        raise _unknown(name)
    return device


def find_device(name: str) -> Device | None:
    """Return the device of that name, or None when there is none.

    Raises:
        InputError: its record cannot be read.
    """
    record = lab_dir() / name / "device.json"
    if not _NAME.fullmatch(name):
        return None
    try:
        return Device.model_validate_json(record.read_bytes())
    except FileNotFoundError:
        # A folder without a record is one whose making was cut short; making the device again replaces it.
        return None
    except (OSError, ValidationError) as error:
        raise InputError(
            "the record of this lab device cannot be read",
            where=Where(record),
            hint=f"remove the device (provision lab down {name}) and make it again (provision lab up)",
        ) from error


def pid_file(name: str) -> Path:
    """Return where the QEMU of a device notes its process id; needs no record, which may be damaged."""
    return lab_dir() / name / "qemu.pid"


def supervisor_pid_file(name: str) -> Path:
    """Return where the supervisor of a device notes its process id; needs no record."""
    return lab_dir() / name / "supervisor.pid"


def remove_folder(name: str) -> None:
    """Delete a device's folder with its disk; no folder is fine."""
    if _NAME.fullmatch(name):
        shutil.rmtree(lab_dir() / name, ignore_errors=True)


def folder_names(names: Sequence[str] | None) -> list[str]:
    """Return ``names`` if each is a device folder, with or without a readable record; None: all there are.

    Raises:
        InputError: a name has no folder.
    """
    base = lab_dir()
    known = sorted(entry.name for entry in base.iterdir() if _NAME.fullmatch(entry.name)) if base.is_dir() else []
    if names is None:
        return known
    for name in names:
        if name not in known:
            raise _unknown(name)
    return list(dict.fromkeys(names))


def _unknown(name: str) -> InputError:
    known = [device.name for device in devices()]
    close = nearest(name, known)
    if not known:
        return InputError(f"there is no lab device {name!r}: the lab is empty", hint="make one: provision lab up")
    return InputError(
        f"there is no lab device {name!r}: there is {', '.join(known)}",
        hint=f"did you mean {close!r}?" if close else "see: provision lab list",
    )


@contextlib.contextmanager
def device_lock(name: str, on_wait: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold a device against other commands that would start, stop or remove it."""
    # Not in the device's folder: removing the folder must not remove a lock somebody waits for.
    with file_lock(lab_dir() / "locks" / name, f"lab device {name}", on_wait=on_wait):
        yield
