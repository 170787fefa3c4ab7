"""``provision completion``: the script that makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script that gives SHELL tab completion for provision.

    It completes commands, options, hosts, groups, roles, inventories and reports.

    \b
    bash   add to ~/.bashrc:    eval "$(provision completion bash)"
    zsh    add to ~/.zshrc, after compinit:
                                eval "$(provision completion zsh)"
    fish   once:                provision completion fish >~/.config/fish/completions/provision.fish
    """
    maker = get_completion_class(shell)
    assert maker is not None
    # Made here and not by click's own source(): that would start a bash to look at its version.
    made = maker(click.Command("provision"), {}, "provision", "_PROVISION_COMPLETE")
    click.echo(made.source_template % made.source_vars())
