"""Which identity decrypts the secrets, and how its passphrase is asked for."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.secrets.vault import IDENTITY_VARIABLE, Recipients, Vault, identity_files

F = TypeVar("F", bound=Callable[..., Any])

_IDENTITIES = "hatfleet.identities"
_PASSPHRASE = "hatfleet.passphrase"  # noqa: S105


def _remember_files(ctx: click.Context, _param: click.Parameter, value: tuple[Path, ...]) -> None:
    ctx.meta[_IDENTITIES] = value


def _read_passphrase(ctx: click.Context, _param: click.Parameter, value: int | None) -> None:
    """Read the passphrase at once: the descriptor is closed before anything else could inherit it."""
    if value is None or ctx.resilient_parsing:
        return
    try:
        with os.fdopen(value) as handle:
            line = handle.readline()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the passphrase from descriptor {value}: {reason}") from error
    if not line.strip("\r\n"):
        raise InputError(f"there is no passphrase on descriptor {value}", hint="its first line is the passphrase")
    ctx.meta[_PASSPHRASE] = line.rstrip("\r\n")


def passphrase_option(command: F) -> F:
    """Add ``--passphrase-fd`` alone, for commands that open one protected file."""
    return click.option(
        "--passphrase-fd",
        type=click.IntRange(min=0),
        metavar="N",
        expose_value=False,
        callback=_read_passphrase,
        help="Read the passphrase from this file descriptor instead of asking for it.",
    )(command)


def identity_options(command: F) -> F:
    """Add the options that say how secrets are decrypted; ``make_vault`` reads them, the command need not."""
    command = passphrase_option(command)
    return click.option(
        "--identity",
        type=click.Path(path_type=Path, dir_okay=False),
        multiple=True,
        metavar="FILE",
        expose_value=False,
        callback=_remember_files,
        help="Decrypt secrets with this age identity or SSH private key; may be given several times. "
        f"Default: ${IDENTITY_VARIABLE} (a path), else ~/.config/hatfleet/identity.txt.",
    )(command)


def own_command() -> list[str]:
    """Return the program and arguments that this process was started with, to run them again in its place.

    The passphrase was read from its descriptor by now: the same line waits on another one.
    """
    arguments = sys.argv[1:]
    given: str | None = click.get_current_context().meta.get(_PASSPHRASE)
    if given is not None:
        reader, writer = os.pipe()
        os.write(writer, f"{given}\n".encode())
        os.close(writer)
        os.set_inheritable(reader, True)
        at = next(index for index, word in enumerate(arguments) if word.startswith("--passphrase-fd"))
        joined = "=" in arguments[at]
        arguments[at : at + (1 if joined else 2)] = ["--passphrase-fd", str(reader)]
    return [sys.executable, "-P", "-m", "hatfleet.entry", *arguments]


def chosen_files() -> tuple[Path, ...]:
    """Return the identity files that the command line, the environment or the default names."""
    return identity_files(click.get_current_context().meta.get(_IDENTITIES) or ())


def make_vault(site: Site) -> Vault:
    """Return what decrypts the secrets of a site with the identity that the options choose."""
    return Vault(chosen_files(), lambda file: ask_passphrase(f"Passphrase of {file}"), Recipients(site))


def ask_passphrase(prompt: str, *, confirm: bool = False) -> str:
    """Return the passphrase of ``--passphrase-fd``, or ask for it on the terminal without showing it.

    Raises:
        InputError: there is no terminal to ask on, or the two times it was typed differ.
    """
    given: str | None = click.get_current_context().meta.get(_PASSPHRASE)
    if given is not None:
        return given
    hint = "give it on a file descriptor: --passphrase-fd 3 3<FILE"
    typed = ask_hidden(prompt, hint)
    if confirm and ask_hidden("The same again", hint) != typed:
        raise InputError("the two passphrases differ", hint="run the command again")
    return typed


def ask_hidden(prompt: str, hint: str) -> str:
    """Ask for something on the terminal without showing it; standard input and output stay free for data.

    Raises:
        InputError: there is no terminal, or nothing was typed.
    """
    try:
        # getpass would else read standard input, and show what is typed.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        raise InputError(f"there is no terminal to ask on: {prompt}", hint=hint) from error
    typed = getpass.getpass(f"{prompt}: ")
    if not typed:
        raise InputError("nothing was typed", hint="run the command again")
    return typed
