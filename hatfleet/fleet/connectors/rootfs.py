"""The pyinfra connector for root file systems: roles run in an image under construction as they run on a device.

pyinfra's own ``@chroot`` writes through symbolic links to the builder's files, hands the builder's environment to
every command and mounts nothing; see :mod:`hatfleet.fleet.connectors.holder` for what this one does instead.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.util import make_unix_command

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.connectors.base import Ended, OnOutput, StreamConnector
from hatfleet.fleet.connectors.holder import Holder


class RootfsConnector(StreamConnector):
    """Runs commands in the root file system that the host data ``hatfleet_rootfs`` names, an absolute path.

    ``hatfleet_epoch_s`` is the day that they take for today, and ``hatfleet_native`` lends them native programs, see
    :class:`Holder`; without the first they look at the clock, without the second all are the root file system's own.
    """

    holder: Holder | None = None

    def connect(self) -> None:
        """Make the root file system ready; pyinfra wants its own error type."""
        path = Path(self.host.data.hatfleet_rootfs)
        if not path.is_absolute():
            raise ConnectError(f"host data hatfleet_rootfs must be an absolute path, not {str(path)!r}")
        native = self.host.data.get("hatfleet_native")
        holder = Holder(path, self.host.data.get("hatfleet_epoch_s"), Path(native) if native else None)
        try:
            holder.start()
        except (HatfleetError, OSError) as error:
            raise ConnectError(str(error)) from error
        self.holder = holder

    def disconnect(self) -> None:
        """End whatever still runs inside and take the mounts away."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.stop()

    def run_script(self, script: str, on_output: OnOutput = lambda data: None) -> Ended:
        """Run a script inside; it travels on standard input, where its length does not matter."""
        if self.holder is None:
            raise OSError("not connected")
        # Quoted as one word: if we are killed while we send it, nothing of it runs.
        feed = f"eval {shlex.quote(script)}\n".encode(errors="surrogateescape")
        output = self.holder.execute(["sh"], stdin=feed)
        on_output(output.stdout)
        return Ended(output.returncode, output.stdout, output.stderr)

    def send_file(self, script: str, file: Path) -> Ended:
        """Run a script inside that reads a file of ours."""
        if self.holder is None:
            raise OSError("not connected")
        output = self.holder.execute(["sh", "-c", script], stdin=file.read_bytes())
        return Ended(output.returncode, output.stdout, output.stderr)

    def execute(
        self, command: StringCommand, arguments: dict[str, Any], *, stdin: bytes, timeout_s: float | None
    ) -> Ended:
        """Run a command inside."""
        if self.holder is None:
            raise OSError("not connected")
        words = make_unix_command(command, **arguments).get_raw_value()
        output = self.holder.execute(["sh", "-c", words], stdin=stdin, timeout_s=timeout_s)
        return Ended(output.returncode, output.stdout, output.stderr)
