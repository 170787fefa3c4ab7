"""A disk opened for writing: by nobody else, with what is written on the medium, and read back from the medium."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.flash.device import Device

MIB = 1024 * 1024

#: Reads that pass by the page cache start at and have multiples of this: no disk has larger logical sectors.
DIRECT_BYTES = 4096

#: How much is read at a time, bytes.
CHUNK_BYTES = 4 * MIB

#: The kernel reads the partition table again (linux/fs.h).
_BLKRRPART = 0x125F


@dataclass(frozen=True)
class Target:
    """An open disk."""

    device: Device
    writer: int
    reader: int
    buffer: mmap.mmap
    """Where reads land: memory that starts at a page, as reads past the cache need."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of ``data``.

        Raises:
            HatfleetError: the disk reports an error.
        """
        rest = memoryview(data)
        while rest:
            try:
                done = os.pwrite(self.writer, rest, offset)
            except OSError as error:
                raise self._failed("writing", offset, error) from error
            rest, offset = rest[done:], offset + done

    def sync(self) -> None:
        """Return when the disk has what was written.

        Raises:
            HatfleetError: the disk reports an error.
        """
        try:
            os.fsync(self.writer)
        except OSError as error:
            raise self._failed("writing", None, error) from error

    def drop_cache(self) -> None:
        """Let later reads come from the medium, where it cannot be passed by (see :func:`open_target`)."""
        os.posix_fadvise(self.reader, 0, 0, os.POSIX_FADV_DONTNEED)

    def read(self, offset: int, size: int) -> Iterator[tuple[int, memoryview]]:
        """Yield offset and content of pieces, each valid until the next is asked for; sync first.

        Raises:
            HatfleetError: the disk reports an error, or ends early.
        """
        end = offset + size
        position = offset - offset % DIRECT_BYTES
        while position < end:
            # The size of what is left, rounded up: at the end of a disk less is read than was asked for.
            want = min(CHUNK_BYTES, -(-(end - position) // DIRECT_BYTES) * DIRECT_BYTES)
            try:
                got = os.preadv(self.reader, [memoryview(self.buffer)[:want]], position)
            except OSError as error:
                raise self._failed("reading", position, error) from error
            first, last = max(offset, position), min(end, position + got)
            if first >= last:
                raise HatfleetError(f"{self.device.name} ends at byte {position}", hint=_WORN)
            yield first, memoryview(self.buffer)[first - position : last - position]
            position += got
            if got % DIRECT_BYTES and position < end:
                raise HatfleetError(f"{self.device.name} ends at byte {position}", hint=_WORN)

    def reread_partitions(self) -> None:
        """Let the kernel see the new partition table. It does not matter when it cannot: the next plug-in will do."""
        if not self.device.is_file:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.writer, _BLKRRPART)

    def _failed(self, doing: str, offset: int | None, error: OSError) -> HatfleetError:
        place = "" if offset is None else f" at byte {offset}"
        return HatfleetError(f"{doing} {self.device.name} failed{place}: {error.strerror}", hint=_WORN)


_WORN = "the card may be worn out, badly seated or smaller than it claims: try another one"


@contextlib.contextmanager
def open_target(device: Device) -> Iterator[Target]:
    """Open a disk, refusing when somebody else has it.

    The kernel gives a disk exclusively to one: a mount, a volume or another program that asked for it. The lock beside
    that keeps udev from looking for file systems while they are half written
    (https://systemd.io/BLOCK_DEVICE_LOCKING).

    Raises:
        InputError: it is in use, or may not be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            # Without O_CREAT, O_EXCL means something for disks only.
            writer = os.open(device.path, os.O_RDWR | os.O_CLOEXEC | (0 if device.is_file else os.O_EXCL))
            stack.callback(os.close, writer)
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _refused(device, error) from error
        reader = _open_past_cache(device)
        stack.callback(os.close, reader)
        yield Target(device, writer, reader, mmap.mmap(-1, CHUNK_BYTES))


def _open_past_cache(device: Device) -> int:
    try:
        return os.open(device.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _refused(device, error) from error
        # A file in memory, such as on tmpfs: there is nothing but the cache.
        return os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)


def _refused(device: Device, error: OSError) -> InputError:
    if error.errno in (errno.EBUSY, errno.EWOULDBLOCK):
        return InputError(
            f"{device.name} is in use by another program, or mounted where this one cannot see it",
            hint=f"see who: sudo lsof {device.path}; then close it",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(f"{device.name} may not be written by this user", hint="run the same command with sudo")
    if error.errno == errno.EROFS:
        return InputError(f"{device.name} is read-only", hint="look for the switch on the card or its adapter")
    if error.errno == errno.ENOMEDIUM:
        return InputError(f"{device.name} has no medium", hint="put the card into the reader")
    return InputError(f"cannot open {device.name}: {error.strerror}")
