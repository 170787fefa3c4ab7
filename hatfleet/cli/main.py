"""The entry point of ``provision``: the commands, and how errors end."""

from __future__ import annotations

import importlib
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from hatfleet.common.errors import ExitCode, HatfleetError, InputErrors, Where

#: Every command, where it is defined, and the section of the help it stands in. Commands load when they are used.
COMMANDS = {
    "init": ("hatfleet.cli.init:init", "Start"),
    "inventory": ("hatfleet.cli.inventory:inventory", "Start"),
    "trust": ("hatfleet.cli.trust:trust", "Start"),
    "test": ("hatfleet.cli.sitetest:test", "Start"),
    "secrets": ("hatfleet.cli.secrets:secrets", "Start"),
    "completion": ("hatfleet.cli.completion:completion", "Start"),
    "plan": ("hatfleet.cli.provision:plan", "Devices"),
    "apply": ("hatfleet.cli.provision:apply", "Devices"),
    "check": ("hatfleet.cli.check:check", "Devices"),
    "report": ("hatfleet.cli.report:report", "Devices"),
    "device": ("hatfleet.cli.device:device", "Devices"),
    "hardware-test": ("hatfleet.cli.hardware:hardware_test", "Devices"),
    "image": ("hatfleet.cli.image:image", "Images and virtual devices"),
    "runtimes": ("hatfleet.cli.runtimes:runtimes", "Images and virtual devices"),
    "lab": ("hatfleet.cli.lab:lab", "Images and virtual devices"),
}

EPILOG = """
\b
Exit codes: 0 as declared · 1 an operation failed · 2 bad input · 3 unreachable · 4 needs a new image
            5 a check failed · 6 inconclusive · 130 interrupted
Tab completion (bash, zsh, fish): provision completion --help
"""


class Commands(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (_, section) in COMMANDS.items():
            command = self.get_command(ctx, name)
            if command is not None:
                sections.setdefault(section, []).append((name, command.get_short_help_str(80)))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


@click.command(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hatfleet", prog_name="provision")
def cli() -> None:
    """Build, provision and prove a fleet of Raspberry Pi 5 boards from one set of roles.

    \b
    See what there is:          provision inventory
    See what would change:      provision plan
    Bring it to that state:     provision apply
    Prove it:                   provision check
    No Pi at hand:              provision image build edge-virt && provision lab up -n 2 && provision apply -i lab
    """


def print_error(error: HatfleetError) -> None:
    """Print what is wrong, where, and what to do next, on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    parts = error.errors if isinstance(error, InputErrors) else (error,)
    for part in parts:
        place = f"{_from_here(part.where)}: " if part.where else ""
        console.print(Text.assemble(("error: ", "bold red"), f"{place}{part.message}"))
        if part.hint:
            console.print(Text.assemble(("  hint: ", "bold"), part.hint))
    if len(parts) > 1:
        console.print(Text(f"{len(parts)} errors; nothing was touched"))


def _from_here(where: Where) -> Where:
    """Name a file as the user would: relative to the working directory when it lies below it."""
    if where.file is None or not where.file.is_relative_to(Path.cwd()):
        return where
    return replace(where, file=where.file.relative_to(Path.cwd()))


def main() -> None:
    """Run the command line and exit with one of ExitCode."""
    # A service manager's or CI system's SIGTERM ends a run as tidily as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = ExitCode.BAD_INPUT
    except HatfleetError as error:
        print_error(error)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("interrupted\n")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (a pager, head): not our failure.
        sys.stderr.close()
        code = ExitCode.OK
    sys.exit(int(code or 0))


if __name__ == "__main__":
    main()
