from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.common.errors import InputError
from hatfleet.common.yamlfile import Encrypted, parse_yaml
from hatfleet.fleet.secrets.edit import read_text, replace_encrypted, set_value, tagged, write_text

FILE = Path("all.yaml")
ARMOUR = "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n-----END AGE ENCRYPTED FILE-----"
BLOCK = ["-----BEGIN AGE ENCRYPTED FILE-----", "AAAA", "-----END AGE ENCRYPTED FILE-----"]


def block(indent: int) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in BLOCK)


EDITS = {
    "an empty file": ("", "a.b", f"a:\n  b: !age |\n{block(4)}"),
    "a file of comments": ("# why\n", "a", f"# why\na: !age |\n{block(2)}"),
    "a new key at the end": ("a: 1 # one\n\n# last\n", "b", f"a: 1 # one\nb: !age |\n{block(2)}\n# last\n"),
    "a new key in a mapping": (
        "a:\n    x: 1\n    # about y\n    y:\n        - 1\n        - 2 # two\nz: 3\n",
        "a.s",
        f"a:\n    x: 1\n    # about y\n    y:\n        - 1\n        - 2 # two\n    s: !age |\n{block(6)}z: 3\n",
    ),
    "new keys below an empty one": ("a: # todo\nz: 3\n", "a.b.c", f"a: # todo\n  b:\n    c: !age |\n{block(6)}z: 3\n"),
    "a plain value": ("a:\n  b: old # mine\n  c: 2\n", "a.b", f"a:\n  b: !age | # mine\n{block(4)}  c: 2\n"),
    "an empty value": ("a:\n  b:\n  c: 2\n", "a.b", f"a:\n  b: !age |\n{block(4)}  c: 2\n"),
    "an empty value at the end": ("a:\n  b:", "a.b", f"a:\n  b: !age |\n{block(4)}".rstrip("\n")),
    "a quoted value of two lines": ("a: 'x\n  y'\nb: 1\n", "a", f"a: !age |\n{block(2)}b: 1\n"),
    "an encrypted value": (
        "a: !age |  # note\n    -----BEGIN\n    old\n\n# next\nb: 1\n",
        "a",
        f"a: !age | # note\n{block(2)}\n# next\nb: 1\n",
    ),
    "a folded value": ("a: >-\n  some\n  text\nb: 1\n", "a", f"a: !age |\n{block(2)}b: 1\n"),
    "a key that holds dots": (
        "edge1.example.com:\n  x: 1\nedge1: 2\n",
        "edge1.example.com.s",
        f"edge1.example.com:\n  x: 1\n  s: !age |\n{block(4)}edge1: 2\n",
    ),
    "after an alias": ("a: &a {x: 1}\nb: *a # same\n", "c", f"a: &a {{x: 1}}\nb: *a # same\nc: !age |\n{block(2)}"),
    "after a block of text": ("a: |\n  text\n  more\n", "b", f"a: |\n  text\n  more\nb: !age |\n{block(2)}"),
    "letters beyond ASCII": ("grüße: 'ä' # ö\nb: 1\n", "b", f"grüße: 'ä' # ö\nb: !age |\n{block(2)}"),
    "line ends of Windows": ("a: 1\r\nb: 2\r\n", "a", f"a: !age |\n{block(2)}b: 2\n".replace("\n", "\r\n")),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_the_lines_of_the_value_change(name: str) -> None:
    before, key, after = EDITS[name]
    assert set_value(before, FILE, key, ARMOUR) == after


REFUSED = {
    "a flow mapping": ("a: {b: 1}\n", "a.b"),
    "a list": ("a: [1]\n", "a.b"),
    "a block list": ("a:\n  - 1\n", "a.0"),
    "a mapping that would be lost": ("a:\n  b: 1\n", "a"),
    "a value with keys below": ("a: 1\n", "a.b"),
    "an alias": ("a: &a 1\nb: *a\n", "b"),
    "an anchor": ("a: &a 1\nb: *a\n", "a"),
    "a mapping that is used twice": ("a: &a\n  x: 1\nb: *a\n", "a.x"),
    "a mapping that is merged": ("a: &a\n  x: 1\nb:\n  <<: *a\n", "a.y"),
    "text whose blank lines count": ("a: |+\n  text\n\n", "b"),
    "no key": ("a: 1\n", ""),
    "an empty part of a key": ("a: 1\n", "a..b"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_safely_is_refused(name: str) -> None:
    text, key = REFUSED[name]
    with pytest.raises(InputError):
        set_value(text, FILE, key, ARMOUR)


@given(
    st.recursive(
        st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=20)),
        lambda inner: st.dictionaries(st.sampled_from("abcde"), inner, min_size=1) | st.lists(inner, min_size=1),
        max_leaves=12,
    ),
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=3).map(".".join),
)
def test_an_edit_is_right_or_refused(data: object, key: str) -> None:
    import yaml

    text = yaml.safe_dump({"z": data, "a": data, "last": 1}, allow_unicode=True, sort_keys=False)
    try:
        changed = set_value(text, FILE, key, ARMOUR)
    except InputError:
        return
    found = parse_yaml(changed, FILE).find(key.split("."))
    assert found is not None
    assert found.value == Encrypted(ARMOUR + "\n")
    kept = [line for line in changed.splitlines() if line.strip() not in BLOCK]
    assert len(kept) >= len(text.splitlines()) - 2


def test_all_secrets_are_replaced_and_the_rest_stays() -> None:
    text = f"# top\na: !age | # one\n{block(4)}\n# mid\nb:\n  - !age |\n{block(4)}  - c: !age |\n{block(8)}    d: 1\n"
    seen = []

    def renew(_node: object, key: str) -> str:
        seen.append(key)
        return ARMOUR.replace("AAAA", "BBBB")

    changed = replace_encrypted(text, FILE, renew)
    assert changed == text.replace("AAAA", "BBBB")
    assert seen == ["a"]  # the same ciphertext is decrypted once


def test_a_secret_behind_an_alias_is_replaced_once() -> None:
    text = f"a: &s !age |\n{block(2)}b: *s\n"
    changed = replace_encrypted(text, FILE, lambda node, key: ARMOUR.replace("AAAA", "BBBB"))
    assert changed == text.replace("AAAA", "BBBB")


def test_a_secret_that_is_no_block_is_refused() -> None:
    with pytest.raises(InputError, match="not written as a block"):
        replace_encrypted('a: 1\nb: !age "x"\n', FILE, lambda node, key: ARMOUR)


def test_the_tagged_form_is_read_back() -> None:
    assert parse_yaml(tagged("a", ARMOUR), FILE).child("a").value.armour.strip() == ARMOUR  # type: ignore[union-attr]


def test_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text("{}")
    with pytest.raises(InputError, match="JSON has no tags"):
        read_text(tmp_path / "all.json")


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "file.yaml", tmp_path / "link.yaml"
    file.write_text("a: 1\n")
    file.chmod(0o640)
    link.symlink_to(file.name)
    write_text(link, "b: 1\n")
    assert link.is_symlink()
    assert file.read_text() == "b: 1\n"
    assert file.stat().st_mode & 0o777 == 0o640
