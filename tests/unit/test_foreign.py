from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.fleet.inventory.load import load_inventory


def refused(file: Path, text: str) -> InputError:
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_inventory([file])
    (error,) = getattr(caught.value, "errors", [caught.value])
    assert isinstance(error, InputError)
    return error


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[edge]\nedge01\n", 1),
        ("# devices\n\n[edge]\nedge[01:03] ansible_host=192.0.2.1\n", 3),
        ("; devices\nedge01 ansible_host=192.0.2.1 ansible_port=22\n", 2),
        ("gate ansible_host=192.0.2.1 # the door\n[edge:children]\nrack\n", 1),
    ],
)
def test_an_ini_inventory_is_told_apart_and_how_to_convert_it(tmp_path: Path, text: str, line: int) -> None:
    error = refused(tmp_path / "hosts", text)
    assert error.message == "this is an inventory in INI format; hosts files are YAML"
    assert error.where and error.where.line == line
    assert "ansible-inventory -i hosts --list --yaml --export" in str(error.hint)


@pytest.mark.parametrize("text", ["all: [\n", "[1, 2]\n", "edge01\n", "- edge01\n", "all:\n\thosts:\n"])
def test_wrong_yaml_is_not_taken_for_ini(tmp_path: Path, text: str) -> None:
    assert "INI" not in refused(tmp_path / "hosts.yaml", text).message


def test_an_encrypted_hosts_file_is_told_apart(tmp_path: Path) -> None:
    error = refused(tmp_path / "hosts.yaml", "$ANSIBLE_VAULT;1.1;AES256\n3330616263\n")
    assert "encrypted with ansible-vault" in error.message


def test_text_that_ansible_must_not_evaluate_is_text(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yaml"
    file.write_text("all:\n  hosts:\n    n1: {motd: !unsafe '{{ no template }}'}\n")
    assert load_inventory([file]).variables("n1")["motd"].plain() == "{{ no template }}"
