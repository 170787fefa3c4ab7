from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatfleet.common import yamlfile
from hatfleet.common.errors import InputError
from hatfleet.common.yamlfile import load_yaml, parse_yaml

FILE = Path("file.yaml")


def error_of(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, FILE)
    return caught.value


def test_every_value_knows_its_line() -> None:
    root = parse_yaml("a: 1\nb:\n  c: x\n  d:\n    - one\n    - k: |\n        text\n", FILE)
    lines = {path: root.find(path).line for path in (("a",), ("b",), ("b", "c"), ("b", "d"), ("b", "d", 1, "k"))}  # type: ignore[union-attr]
    assert lines == {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "d"): 4, ("b", "d", 1, "k"): 6}
    assert root.plain() == {"a": 1, "b": {"c": "x", "d": ["one", {"k": "text\n"}]}}


def test_a_path_that_leads_nowhere_finds_nothing() -> None:
    root = parse_yaml("a: [1]", FILE)
    assert root.find(["b"]) is None
    assert root.find(["a", 1]) is None
    assert root.find(["a", 0, "x"]) is None


def test_a_scalar_remembers_how_it_was_written() -> None:
    node = parse_yaml("mode: 0644", FILE).find(["mode"])
    assert node is not None
    assert (node.value, node.shown()) == (420, "0644")


def test_keys_are_the_words_they_look_like() -> None:
    assert parse_yaml("on: 1\nno: 2\n22: 3\n2026-01-01: 4", FILE).plain() == {
        "on": 1,
        "no": 2,
        "22": 3,
        "2026-01-01": 4,
    }


def test_a_date_stays_text() -> None:
    assert parse_yaml("day: 2026-01-31", FILE).plain() == {"day": "2026-01-31"}


def test_an_empty_file_is_nothing() -> None:
    assert parse_yaml("# only a comment\n", FILE).value is None


def test_aliases_and_merge_keys_work_and_own_keys_win() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nall:\n  <<: [*b, *m]\n  x: 9\n"
    assert parse_yaml(text, FILE).plain()["all"] == {"x": 9, "y": 2, "z": 4}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is written twice: first in line 1"),
        ("x:\n  '1': a\n  1: b\n", 3, "the key '1' is written twice: first in line 2"),
        ("a:\n\tb: 1\n", 2, "a tab in the indentation"),
        ("a: b: c\n", 1, "a ':' where none can be"),
        ("a: 1\nb: [1,\nc: 2\n", 2, "'[' list does not end"),
        ("a: 1\nb: {c: 1\n", 2, "'{' mapping does not end"),
        ("b: 1\na: 'x\nd: 1\n", 2, "a quoted text does not end"),
        ('a: "\\q"\n', 1, "unknown escape"),
        ("a:\n   b: 1\n  c: 2\n", 3, "the indentation does not fit"),
        ("a: 1\nkey\n", 2, "a key without its ':'"),
        ("a: *no\n", 1, "an alias (*name) without its anchor"),
        ("a: **x**\n", 1, "a '*' that begins no alias"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
        ("a: @x\n", 1, "a character that cannot begin a value"),
        ("a: 1\nb: \x01\n", 2, "a control character"),
        ("a: &x [*x]\n", 1, "an alias contains itself"),
        ("x: &a {<<: &b {<<: *b}}\n", 1, "an alias contains itself"),
        ("x:\n  <<: 3\n", 2, "'<<' merges mappings"),
        ("? [a]\n: b\n", 1, "a key must be a plain word"),
        ("a: 1\nb: !vault x\n", 2, "the tag !vault is not supported"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "the tag !!python/object/apply:os.system is not supported"),
        ("a: !!set {b}\n", 1, "the tag !!set is not supported"),
        ("a: !!int foo\n", 1, "'foo' is not a valid int"),
        ("[" * 100_000, 1, "nested more than"),
    ],
)
def test_what_is_not_plain_data_is_refused_at_its_line(text: str, line: int, words: str) -> None:
    error = error_of(text)
    assert error.where is not None
    assert (error.where.file, error.where.line) == (FILE, line)
    assert words in error.message
    assert error.exit_code == 2


def test_nested_aliases_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_VALUES", 10_000)
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 10000 values" in error_of("\n".join(["a0: &a0 [x]", *levels])).message


def test_both_of_pyyamls_parsers_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, yes, ~, 1.5, 'x']\nb: &b\n  c: 2026-01-01\nd: *b\n"
    fast = parse_yaml(text, FILE)
    monkeypatch.setattr(yamlfile, "_LOADER", yamlfile.yaml.SafeLoader)
    assert parse_yaml(text, FILE) == fast
    assert "a tab in the indentation" in error_of("a:\n\tb: 1\n").message


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n\t?,0<", max_size=60))
def test_any_text_is_read_or_refused_as_input(text: str) -> None:
    try:
        parse_yaml(text, FILE).plain()
    except InputError as error:
        assert error.where is not None
        assert error.where.file == FILE


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        load_yaml(tmp_path / "none.yaml")
    assert str(tmp_path / "none.yaml") in str(caught.value)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: ä".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_yaml(tmp_path / "latin.yaml")


def test_json_with_tabs_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n\t"a": [1, "x\\ty"]\n}\n')
    assert load_yaml(tmp_path / "a.json").plain() == {"a": [1, "x\ty"]}
