"""Tables on the terminal."""

from __future__ import annotations

import pytest

from hatfleet.cli.columns import echo_columns


def test_each_column_is_as_wide_as_its_longest_word(capsys: pytest.CaptureFixture[str]) -> None:
    echo_columns([("name", "state", "size"), ("edge-01", "on", "1 MiB"), ("b", "running", "")])
    assert capsys.readouterr().out == "name     state    size\nedge-01  on       1 MiB\nb        running\n"
