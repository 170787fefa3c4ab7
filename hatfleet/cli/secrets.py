"""``provision secrets``: values in variables files that only the recipients can read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO

import click

from hatfleet.cli.complete import complete_secrets
from hatfleet.cli.identity import ask_hidden, ask_passphrase, chosen_files, identity_options, make_vault
from hatfleet.cli.inventory_view import short
from hatfleet.cli.options import json_option
from hatfleet.common.age import encrypt as encrypt_to
from hatfleet.common.errors import ExitCode, InputError, Where
from hatfleet.common.site import Site
from hatfleet.common.yamlfile import Encrypted
from hatfleet.fleet.secrets.doctor import examine
from hatfleet.fleet.secrets.edit import read_text, set_value, tagged, write_text
from hatfleet.fleet.secrets.scratch import edit_text
from hatfleet.fleet.secrets.site import find_secret, secret_files
from hatfleet.fleet.secrets.site import rekey as rekey_site
from hatfleet.fleet.secrets.vault import Recipients, check_value, new_identity

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

key_option = click.option(
    "--key",
    metavar="KEY",
    shell_complete=complete_secrets,
    help="Which secret of the file, such as base.admin.password. Needed where there is more than one.",
)


@click.group(invoke_without_command=False)
def secrets() -> None:
    """Keep passwords and tokens in the inventory, encrypted with age.

    A value tagged !age can be read by the recipients in keys/recipients.txt and by nobody else. It is decrypted in
    memory when plan, apply or check use it, and never shown.

    \b
    provision secrets init                                   your identity, and your place among the recipients
    provision secrets encrypt --in inventory/prod/group_vars/all.yaml --key wifi.passphrase
    provision secrets edit inventory/prod/group_vars/all.yaml
    provision secrets rekey                                  after a change of keys/recipients.txt
    provision secrets doctor                                 what is wrong, or could give a secret away
    """


@secrets.command()
@click.option("--passphrase", "protect", is_flag=True, help="Protect the identity file with a passphrase.")
@click.option("--name", metavar="NAME", default="", help="Whose it is; a comment in keys/recipients.txt.")
@identity_options
def init(protect: bool, name: str) -> None:
    """Make an age identity and add its recipient to the site.

    The identity is the private key. It stays with you, outside of the site: by default in
    ~/.config/hatfleet/identity.txt, readable by you alone. Its recipient, the public key, goes to keys/recipients.txt.

    \b
    provision secrets init --name alice@laptop
    provision secrets init --passphrase --identity ~/.config/hatfleet/prod.txt
    """
    site = Site.find()
    files = chosen_files()
    if len(files) != 1:
        raise click.UsageError("one identity is made: give --identity once")
    recipients = Recipients(site)
    if recipients.file.exists():
        recipients.load()  # a file with mistakes in it is not to be added to
    file = files[0].expanduser()
    if file.resolve().is_relative_to(site.root):
        raise InputError(f"{file} lies in the site, where no private key may be", hint="choose a place outside of it")
    passphrase = ask_passphrase(f"New passphrase for {file}", confirm=True) if protect else None
    recipient = new_identity(file, passphrase)
    recipients.add(recipient, name or "made by provision secrets init")
    if not secret_files(site):
        recipients.note_rekeyed()
    else:
        click.echo("there are secrets already: somebody who can read them must run: provision secrets rekey", err=True)
    click.echo(f"identity:  {file}\nrecipient: {recipient}\n           added to {short(recipients.file)}")


@secrets.command()
@click.option("--name", metavar="NAME", help="Print 'NAME: !age |' and the value, ready to paste.")
@click.option("--in", "target", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Put it there.")
@click.option("--key", metavar="KEY", shell_complete=complete_secrets, help="Where in FILE: wifi.passphrase.")
@click.option("--file", "source", type=click.File("rb"), help="Read the value from a file; '-' is standard input.")
def encrypt(name: str | None, target: Path | None, key: str | None, source: IO[bytes] | None) -> None:
    """Encrypt a value to the recipients of the site.

    The value is asked for, and not shown; or read from standard input or --file. It is never an argument, which every
    user of the machine could see. The line end after a single line is not part of it.

    \b
    provision secrets encrypt --in inventory/prod/group_vars/all.yaml --key wifi.passphrase
    provision secrets encrypt --name passphrase            prints it, to paste
    openssl rand -base64 24 | provision secrets encrypt --in FILE --key KEY
    """
    if (target is None) is not (key is None) or (target is not None and name is not None):
        raise click.UsageError("give --in FILE and --key KEY to put the value into a file, or --name NAME to print it")
    to = Recipients(Site.find()).load()
    text = read_text(target) if target else ""
    if target and key:
        set_value(text, target, key, "x")  # refused before the value is asked for
    armour = encrypt_to(_tidy(_read_value(source)).encode(), to)
    if target and key:
        write_text(target, set_value(text, target, key, armour))
        click.echo(f"{key} in {short(target)}, encrypted to {_count(len(to), 'recipient')}")
    else:
        click.echo(tagged(name, armour) if name else armour)


def _read_value(source: IO[bytes] | None) -> str:
    if source is not None:
        return check_value(source.read())
    if sys.stdin.isatty():
        return check_value(ask_hidden("Value (not shown)", "pipe the value in, or name a file with --file").encode())
    return check_value(sys.stdin.buffer.read())


def _tidy(text: str) -> str:
    """Take the line end from a single line: editors, echo and password managers add it."""
    return text.rstrip("\r\n") if "\n" not in text.rstrip("\r\n") else text


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


@secrets.command()
@click.argument("file", type=_FILE)
@key_option
@click.option("--allow-disk", is_flag=True, help="Where there is no file system in memory, edit on disk.")
@identity_options
def edit(file: Path, key: str | None, allow_disk: bool) -> None:
    """Change a secret of a variables file in your editor.

    The plain text is in memory only (/dev/shm or XDG_RUNTIME_DIR) while the editor runs, and gone afterwards.
    $VISUAL or $EDITOR is used. What is unchanged is not encrypted again.
    """
    site = Site.find()
    to = Recipients(site).load()
    key, node = find_secret(file, key)
    assert isinstance(node.value, Encrypted)
    before = make_vault(site).reveal(node, [key])[node.value]
    set_value(read_text(file), file, key, "x")  # refused before the editor opens
    after = _tidy(edit_text(before, allow_disk=allow_disk))
    if after == before:
        click.echo(f"{key} is unchanged")
        return
    check_value(after.encode())
    write_text(file, set_value(read_text(file), file, key, encrypt_to(after.encode(), to)))
    click.echo(f"{key} in {short(file)}, encrypted to {_count(len(to), 'recipient')}")


@secrets.command()
@click.argument("file", type=_FILE)
@key_option
@identity_options
def show(file: Path, key: str | None) -> None:
    """Print a secret on the terminal, after asking.

    Only on a terminal: where output goes to a file or a log, a secret must not.
    """
    key, node = find_secret(file, key)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("a secret is shown on a terminal only", hint="to use it elsewhere, use age itself")
    click.confirm(f"Show {key} on this screen?", abort=True)
    assert isinstance(node.value, Encrypted)
    click.echo(make_vault(Site.find()).reveal(node, [key])[node.value])


@secrets.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@identity_options
def rekey(paths: tuple[Path, ...]) -> None:
    """Encrypt all secrets of the site, or those below PATHS, to the present recipients.

    Run it after a change of keys/recipients.txt. Who was a recipient before keeps what was read before, and can still
    read old versions of the files: change the secrets, too, when somebody leaves.
    """
    site = Site.find()
    number = len(Recipients(site).load())
    total = 0
    for file, count in rekey_site(site, make_vault(site), paths):
        click.echo(f"{short(file)}: {_count(count, 'value')}")
        total += count
    click.echo(f"{_count(total, 'secret')} encrypted to {_count(number, 'recipient')}")


@secrets.command()
@json_option
@identity_options
def doctor(as_json: bool) -> None:
    """Find what is wrong with the secrets of the site, and what could give them away.

    Every secret can be decrypted and is encrypted to exactly the recipients there are; secrets stand where a role
    expects them, and nowhere in plain text; no private key lies in the site; your identity is readable by you alone.
    Nothing is changed, and no device is contacted. Exit code 0: all is well; 1: something was found.
    """
    site = Site.find()
    number, findings = examine(site, make_vault(site))
    if as_json:
        rows = [{"message": one.message, "hint": one.hint, **_place(one.where)} for one in findings]
        click.echo(json.dumps({"secrets": number, "findings": rows}, indent=2))
    else:
        for one in findings:
            place = replace(one.where, file=one.where.file and Path(short(one.where.file))) if one.where else None
            click.echo(f"{place}: {one.message}" if place else one.message)
            if one.hint:
                click.echo(f"  hint: {one.hint}")
        verdict = _count(len(findings), "finding") if findings else "all is well"
        click.echo(f"{_count(number, 'secret')}; {verdict}")
    sys.exit(ExitCode.FAILED if findings else ExitCode.OK)


def _place(where: Where | None) -> dict[str, object]:
    place = where or Where()
    return {"file": str(place.file) if place.file else None, "line": place.line, "key": place.key}
