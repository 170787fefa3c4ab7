"""``provision lab``: virtual devices on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from hatfleet.cli.columns import echo_columns
from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say
from hatfleet.common.run import replace_process


def complete_devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Complete the names of the devices there are."""
    from hatfleet import lab as api

    try:
        return [device.name for device in api.devices() if device.name.startswith(incomplete)]
    except HatfleetError:
        return []


device_argument = click.argument("name", shell_complete=complete_devices)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="How long a device may take to boot.",
)


@click.group()
def lab() -> None:
    """Run virtual devices: the same image as on a board, in QEMU, reachable from this machine only.

    \b
    provision lab up -n 2            make and boot edge-01 and edge-02
    provision apply -i lab           provision them: the lab writes an inventory of its own
    provision lab ssh edge-01        log in
    provision lab power edge-01 cut  pull the plug; lab start edge-01 boots it again
    provision lab down --all         remove them with their disks
    """


@lab.command()
@click.option("-n", "--count", type=int, metavar="N", help="How many devices. Default: all there are, at least one.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Disk image for new devices. Default: the newest build for virtual devices in out/.",
)
@click.option(
    "--boot-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Public key (PEM) for new devices: they boot only a boot.img that it signed.",
)
@click.option("--name", "prefix", default="edge", show_default=True, metavar="PREFIX", help="Begin of the names.")
@click.option(
    "--memory",
    "memory_mib",
    type=click.IntRange(min=256),
    default=1024,
    show_default=True,
    metavar="MIB",
    help="Memory of a new device.",
)
@click.option(
    "--cpus", type=click.IntRange(1, 8), default=1, show_default=True, metavar="N", help="Processors of a new device."
)
@timeout_option
def up(
    count: int | None,
    image: Path | None,
    boot_key: Path | None,
    prefix: str,
    memory_mib: int,
    cpus: int,
    timeout_s: float,
) -> None:
    """Make and boot devices: missing ones are made, stopped ones started, running ones left alone.

    Returns when every device lets you log in. Its SSH host key is read from its serial console and pinned.
    """
    from hatfleet import lab as api

    ready = api.up(
        count,
        image=image,
        boot_key=boot_key,
        prefix=prefix,
        memory_mib=memory_mib,
        cpus=cpus,
        timeout_s=timeout_s,
    )
    _print_table([_row(device) for device in ready])
    say(f"next: provision apply -i lab · provision lab ssh {ready[0].name}")


@lab.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print the devices as JSON on standard output.")
def list_devices(as_json: bool) -> None:
    """List the devices, running or not."""
    from hatfleet import lab as api

    rows = [_row(device) for device in api.devices()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print_table(rows)
    else:
        say("the lab is empty; make a device: provision lab up")


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@device_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, command: tuple[str, ...]) -> None:
    """Log in to a device, or run COMMAND there; ends with the exit status of ssh.

    As with ssh itself, the words of COMMAND are joined by spaces and read by the device's shell.
    """
    from hatfleet import lab as api

    words = command[1:] if command[:1] == ("--",) else command
    replace_process(api.ssh_command(api.running_device(name), words))


@lab.command()
@device_argument
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the device is off or you press Ctrl-C.")
def console(name: str, follow: bool) -> None:
    """Print what a device has said on its serial console since it was made."""
    from hatfleet import lab as api

    device = api.load_device(name)
    reader = api.ConsoleReader(device.console_log)
    while True:
        running = api.is_running(device)
        for line in reader.lines():
            click.echo(line)
        if not follow or not running:
            break
        time.sleep(0.2)
    if reader.rest():
        click.echo(reader.rest())


@lab.command()
@device_argument
@timeout_option
def start(name: str, timeout_s: float) -> None:
    """Boot a stopped device again, from its own disk."""
    from hatfleet import lab as api

    _print_table([_row(api.start(name, timeout_s=timeout_s))])


@lab.command()
@device_argument
def stop(name: str) -> None:
    """Switch a device off cleanly; it keeps its disk and its place in the inventory."""
    from hatfleet import lab as api

    api.stop(name)


@lab.command()
@device_argument
@timeout_option
def reboot(name: str, timeout_s: float) -> None:
    """Switch a device off cleanly and on again."""
    from hatfleet import lab as api

    _print_table([_row(api.reboot(name, timeout_s=timeout_s))])


@lab.command()
@device_argument
@click.argument("action", type=click.Choice(["cut", "reset"]))
@click.option("--tryboot", is_flag=True, help="With reset: set the one-shot flag, so that this boot is a trial.")
def power(name: str, action: str, tryboot: bool) -> None:
    """Pull a device's plug (cut) or press its reset button (reset); neither is a clean shutdown.

    \b
    cut    the device is off; its disk keeps what had reached it, the tryboot flag is lost
    reset  it comes up again by itself, through the firmware stage

    A reset does not wait: provision lab start NAME returns when one can log in again.
    """
    from hatfleet import lab as api

    if action == "reset":
        api.reset(name, tryboot=tryboot)
        say(f"{name}: reset{', the next boot is a trial' if tryboot else ''}; see: provision lab console -f {name}")
        return
    if tryboot:
        raise click.UsageError("--tryboot goes with reset: a power cut loses the flag")
    say(f"{name}: power cut" if api.cut(name) else f"{name}: was off")


@lab.command()
@click.argument("names", nargs=-1, shell_complete=complete_devices, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Remove all devices.")
def down(names: tuple[str, ...], everything: bool) -> None:
    """Remove devices with their disks and their inventory entries."""
    from hatfleet import lab as api

    if everything == bool(names):
        raise click.UsageError("name the devices to remove, or give --all")
    removed = api.down(names or None)
    say(f"removed {', '.join(removed)}" if removed else "the lab is empty")


def _row(device: Any) -> dict[str, Any]:
    from hatfleet import lab as api

    return {
        "name": device.name,
        "state": "running" if api.is_running(device) else "stopped",
        "address": api.ADDRESS,
        "port": device.port,
        "user": device.user,
        "memory_mib": device.memory_mib,
        "cpus": device.cpus,
        "image": str(device.image),
        "host_key": device.host_key,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    columns = ("name", "state", "ssh", "memory", "image")
    lines = [columns] + [
        (
            row["name"],
            row["state"],
            f"{row['user']}@{row['address']}:{row['port']}",
            f"{row['memory_mib']} MiB",
            Path(row["image"]).name,
        )
        for row in rows
    ]
    echo_columns(lines)
