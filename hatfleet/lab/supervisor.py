"""The process behind a device: firmware stage, QEMU, and both again after each reset.

    python -P -m hatfleet.lab.supervisor NAME PIDFILE

It detaches itself once the machine runs (exit status 0) or says why it does not (a JSON object on standard error), and
ends when the device is off. A reset, from inside the device or by signal, ends QEMU; the firmware stage then runs again
on the same disk. QEMU gets SIGKILL from the kernel if this process ends first, so that none is ever left unattended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from qemu.qmp import ConnectError, EventListener, QMPClient, QMPError

from hatfleet.common.errors import CommandError, HatfleetError
from hatfleet.common.files import write_atomic
from hatfleet.common.run import require_tool
from hatfleet.lab import emulator, firmware, mailbox, qemu
from hatfleet.lab.device import Device, load_device
from hatfleet.lab.firmware.devicetree import write_device_tree
from hatfleet.lab.firmware.signature import load_key
from hatfleet.lab.machine import RESET, RESET_TRYBOOT

#: Reasons that QEMU gives for its end when the device is to come up again (QAPI: ShutdownCause).
_RESETS = frozenset({"guest-reset", "host-qmp-system-reset"})

#: How long QEMU may take to say why it ends, and to end after that, seconds.
_END_TIMEOUT_S = 30.0


class Supervisor:
    """Keeps one device on.

    Args:
        device: The device; the working directory is its folder.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._flags = mailbox.RebootFlags()
        self._reset = asyncio.Event()

    async def serve(self, on_running: Callable[[], None]) -> None:
        """Switch the device on and return when it is off.

        Args:
            on_running: Called each time QEMU has come up.

        Raises:
            HatfleetError: the disk cannot be booted or QEMU does not start.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(RESET, self._press_reset, 0)
        loop.add_signal_handler(RESET_TRYBOOT, self._press_reset, mailbox.TRYBOOT)
        # Only now: who finds the process by this file may send it signals.
        write_atomic(self._device.supervisor_pid_file, f"{os.getpid()}\n")
        try:
            while await self._boot(on_running) in _RESETS:
                pass
        finally:
            self._device.supervisor_pid_file.unlink(missing_ok=True)

    def _press_reset(self, flags: int) -> None:
        self._flags.value |= flags
        self._reset.set()

    async def _boot(self, on_running: Callable[[], None]) -> str | None:
        """Boot once; return why QEMU ended, None if it did not say."""
        device = self._device
        key = load_key(device.boot_key.encode()) if device.boot_key else None
        with _console(device.console_log) as log:
            try:
                found = firmware.load(device.disk, device.folder, tryboot=self._flags.take_tryboot(), key=key, log=log)
                tree = device.folder / "device.dtb"
                values = found.bootloader_values()
                _write_device_tree(device, tree, values)
            except HatfleetError as error:
                log(f"halted: {error.message}")
                raise
        with _connection() as (monitor, its_monitor), _connection() as (port, its_port):
            with its_monitor, its_port, _qemu_log(device).open("wb") as errors:
                lines = qemu.Lines(its_monitor.fileno(), its_port.fileno())
                words = [*emulator.program(), *qemu.arguments(device, found, tree, lines)]
                process = await _start(words, lines, errors)
            try:
                return await self._attend(process, monitor, port, on_running)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _attend(
        self,
        process: asyncio.subprocess.Process,
        monitor: socket.socket,
        port: socket.socket,
        on_running: Callable[[], None],
    ) -> str | None:
        client = QMPClient(self._device.name)
        ends = EventListener(names=["SHUTDOWN"])
        client.register_listener(ends)
        try:
            await client.connect(monitor)
        except ConnectError as error:
            await process.wait()
            said = _qemu_log(self._device).read_text(errors="replace").strip()
            raise HatfleetError(f"QEMU does not start {self._device.name}: {said or error}") from error
        reader, writer = await asyncio.open_connection(sock=port, limit=mailbox.MAX_LINE_BYTES)
        helpers = [
            asyncio.create_task(mailbox.serve(reader, writer, self._flags)),
            asyncio.create_task(self._pass_resets(client)),
        ]
        try:
            await client.execute("cont")
            on_running()
            return await _end_of(process, ends)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            writer.close()
            with contextlib.suppress(QMPError, EOFError, OSError):
                await client.disconnect()

    async def _pass_resets(self, client: QMPClient) -> None:
        while True:
            await self._reset.wait()
            self._reset.clear()
            # QEMU may be about to end for another reason.
            with contextlib.suppress(QMPError):
                await client.execute("system_reset")


def _write_device_tree(device: Device, tree: Path, values: Mapping[str, int]) -> None:
    try:
        write_device_tree(emulator.program(), qemu.MACHINE, qemu.board_options(device), tree, values)
    except CommandError as error:
        raise HatfleetError(f"QEMU does not start {device.name}: {error.stderr.strip()}") from error


async def _start(words: list[str], lines: qemu.Lines, errors: IO[bytes]) -> asyncio.subprocess.Process:
    # Killed with this process. The session of its own keeps a Ctrl-C of the starting command from it.
    dies_with_us = [require_tool("setpriv", "util-linux"), "--pdeathsig", "KILL", "--"]
    return await asyncio.create_subprocess_exec(
        *dies_with_us,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=(lines.monitor, lines.firmware),
        start_new_session=True,
    )


async def _end_of(process: asyncio.subprocess.Process, ends: EventListener) -> str | None:
    """Wait until QEMU has ended; return the reason it gave."""
    ended = asyncio.create_task(process.wait())
    said = asyncio.create_task(ends.get())
    await asyncio.wait({ended, said}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({ended, said}, timeout=_END_TIMEOUT_S if said.done() else 1.0)
    if not said.done():
        said.cancel()
        return None
    event = said.result()
    data = event["data"]
    return str(data["reason"]) if isinstance(data, dict) else None


@contextlib.contextmanager
def _connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextlib.contextmanager
def _console(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds a line of the firmware's to the console log."""
    with path.open("a+b", buffering=0) as console:
        # The device may have ended in the middle of a line.
        if console.tell():
            console.seek(-1, os.SEEK_END)
            if console.read(1) != b"\n":
                console.write(b"\n")

        def log(line: str) -> None:
            console.write(f"firmware: {line}\n".encode())

        yield log


def _qemu_log(device: Device) -> Path:
    """Return the file with QEMU's own messages since its last start."""
    return device.folder / "qemu.log"


def _detached(device: Device, told: int) -> None:
    """Run the device in the detached half of the process; tell through a pipe when it runs or why it does not."""
    running = False

    def on_running() -> None:
        nonlocal running
        if not running:
            running = True
            # From here on the starting command's Ctrl-C does not end the device.
            os.setsid()
            os.close(told)

    async def serve() -> None:
        await Supervisor(device).serve(on_running)

    try:
        asyncio.run(serve())
    except HatfleetError as error:
        if running:
            sys.stderr.write(f"{error}\n")
        else:
            os.write(told, json.dumps({"message": str(error), "hint": error.hint}).encode())
            os._exit(1)
    except BaseException:
        traceback.print_exc()
        if not running:
            os.write(told, json.dumps({"message": traceback.format_exc(), "hint": None}).encode())
        os._exit(1)
    os._exit(0)


def main(name: str) -> int:
    """Start a device's supervisor and return an exit status once its machine runs or has failed to start."""
    device = load_device(name)
    os.chdir(device.folder)
    answer, told = os.pipe()
    if os.fork() == 0:
        os.close(answer)
        with open(os.devnull, "rb") as nothing, open("supervisor.log", "wb") as log:  # noqa: PTH123
            for number, file in enumerate((nothing, log, log)):
                os.dup2(file.fileno(), number)
        _detached(device, told)
    os.close(told)
    with os.fdopen(answer, "rb") as pipe:
        reason = pipe.read().decode()
    sys.stderr.write(reason)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
