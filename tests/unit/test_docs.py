"""What the pages say must be there: every command and option that they show, and every page that they link to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hatfleet.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})

#: Decisions and the changelog also name what is gone.
GUIDES = [page for page in PAGES if "decisions" not in page.parts and page.name != "CHANGELOG.md"]

#: What a shell ends a command with.
ENDS = ("|", ">", "&&", "||", ";", "#")


def shown(page: Path) -> Iterator[str]:
    """Yield the ``provision`` commands of a page: lines of its blocks, and words in backquotes."""
    blocks = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            blocks = not blocks
        elif blocks:
            found = re.match(r"\s*(?:\$ |sudo )?(provision(?: \S.*|$))", line)
            if found:
                yield found[1]
        else:
            yield from re.findall(r"`(?:sudo )?(provision [^`]+)`", line)


def unknown(command: str) -> str | None:
    """Return the word of a command that provision does not know, or None."""
    at: click.Command = cli
    for word in re.sub(r"""[][,.:()"']+(?= |$)|(?<= )[][("']+""", "", command).split()[1:]:
        if word in ENDS or word == "--":
            break
        if word.startswith("-"):
            if word.split("=")[0] not in {*_options(at), "-h", "--help"}:
                return word
        elif isinstance(at, click.Group) and re.fullmatch(r"[a-z]+(-[a-z]+)*", word):
            found = at.get_command(click.Context(at), word)
            if found is None:
                return word
            at = found
    return None


def _options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_exists(page: Path) -> None:
    wrong = [f"{command}: {word}" for command in shown(page) if (word := unknown(command))]
    assert not wrong, "\n".join(wrong)


def test_a_command_that_does_not_exist_is_found() -> None:
    assert unknown("provision image clean") == "clean"
    assert unknown("provision lab power edge-01 reset --trial") == "--trial"
    assert unknown("provision hardware-tests edge-01") == "hardware-tests"
    assert unknown("provision hardware-test edge-01 --reboot") is None
    assert unknown("provision apply -l edge-01 --serial 1,10%  # in stages") is None
    assert unknown("provision image build edge-virt && provision lab up") is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", page.read_text())
    wrong = []
    for target in targets:
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            wrong.append(target)
    assert not wrong, wrong


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as hosting sites make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
