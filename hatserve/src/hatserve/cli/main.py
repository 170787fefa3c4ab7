"""``hatserve``: groups of commands, each in a module that leaves what is heavy to the command that needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from hatserve import __version__
from hatserve.cli import accelerator, board, run
from hatserve.errors import HatserveError

#: Groups of commands: name to a function that adds the group's commands to its parser. Each command sets the default
#: ``run``: a function of the parsed arguments that returns the exit code.
GROUPS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "accelerator": ("how the accelerator is, and bringing it back", accelerator.add_commands),
    "board": ("the board around it: HAT+, boot loader, throttling", board.add_commands),
    "run": (run.ABOUT, run.add),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    made = argparse.ArgumentParser(prog="hatserve", description="The accelerator and the models of this device.")
    made.add_argument("--version", action="version", version=f"hatserve {__version__}")
    groups = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (about, add) in GROUPS.items():
        add(groups.add_parser(name, help=about, description=about))
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 good, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except HatserveError as error:
        print(f"hatserve: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
