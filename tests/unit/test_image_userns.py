"""Building as an ordinary user: what is missing is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.image.userns import SETTINGS, Setting, forbidden, require_range


@pytest.mark.parametrize(
    "text",
    ["alice:100000:65536\n", "1000:100000:65536\n", "bob:1:1\nalice:1:10\nalice:200000:65535\n"],
    ids=["by name", "by number", "one of several"],
)
def test_a_range_that_is_large_enough_will_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    require_range(file, "alice", 1000)


@pytest.mark.parametrize("text", [None, "", "bob:100000:65536\n", "alice:100000:1000\n", "alice:100000\n"], ids=str)
def test_without_a_range_the_error_says_how_to_get_one(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "subgid"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match="alice has no range of 65536 subordinate ids") as caught:
        require_range(file, "alice", 1000)
    assert "usermod --add-subgids" in (caught.value.hint or "")


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_setting_that_forbids_namespaces_is_named(tmp_path: Path, number: int) -> None:
    settings = [Setting(tmp_path / str(index), one.forbids, one.remedy) for index, one in enumerate(SETTINGS)]
    for index, setting in enumerate(settings):
        forbids, allows = (0, 1) if setting.forbids(0) else (1, 0)
        setting.path.write_text(f"{forbids if index == number else allows}\n")
    error = forbidden("no", settings)
    assert str(settings[number].path) in error.message
    assert error.hint == settings[number].remedy


def test_when_no_setting_forbids_it_what_was_said_is_shown(tmp_path: Path) -> None:
    error = forbidden("Operation not permitted", [Setting(tmp_path / "none", lambda value: True, "")])
    assert "Operation not permitted" in error.message
