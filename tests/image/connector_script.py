"""Run by test_rootfs.py: the connector as pyinfra calls it."""

# gevent must patch the standard library before anything else is imported.
# ruff: noqa: E402

from gevent import monkey

monkey.patch_all()

import io
import sys
from pathlib import Path

from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from hatfleet.fleet.connectors.rootfs import RootfsConnector


def connector(path: str) -> RootfsConnector:
    inventory = Inventory(([("test", {"hatfleet_rootfs": path})], {}))
    return RootfsConnector(State(inventory, Config()), inventory.get_host("test"))


def main(root: str) -> None:
    inside = connector(root)
    inside.connect()
    try:
        ok, output = inside.run_shell_command(StringCommand("uname", "-m"))
        print(ok, output.stdout)
        ok, output = inside.run_shell_command(StringCommand("cat"), _stdin="from stdin")
        print(ok, output.stdout)
        ok, output = inside.run_shell_command(StringCommand("exit 7"))
        print(ok, output.stdout)
        ok, output = inside.run_shell_command(StringCommand("echo seven; exit 7"), _success_exit_codes=[0, 7])
        print("accepted", ok, output.stdout)
        try:
            inside.run_shell_command(StringCommand("sleep 60"), _timeout=1)
        except TimeoutError:
            print("timeout")
        inside.put_file(io.BytesIO(b"\x00\xffbinary"), "/root/a file")
        got = io.BytesIO()
        inside.get_file("/root/a file", got)
        print("file", got.getvalue())
        try:
            inside.put_file(io.BytesIO(b"x"), "/no/such/folder/file")
        except OSError:
            print("refused")
    finally:
        inside.disconnect()
    try:
        connector(str(Path(root) / "missing")).connect()
    except ConnectError:
        print("connect refused")


main(sys.argv[1])
