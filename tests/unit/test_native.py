"""Lending native programs: where their places are made, and where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.fleet.connectors.native import FOLDER, PROGRAMS, Loan

LOADER, LIBRARIES = "lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system as Debian's for arm64 is: /lib is a link, and there is no /lib64."""
    folder = tmp_path / "root"
    (folder / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    (folder / "lib").symlink_to("usr/lib")
    return folder


def loan(root: Path, machine: str = "x86_64") -> Loan:
    return Loan(root, root.parent / "tree", machine)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_places_are_made_and_taken_away_again(root: Path) -> None:
    before = names(root)
    lent = loan(root)
    assert lent.begin()
    assert (root / LOADER).is_file()
    assert (root / LIBRARIES).is_dir()
    lent.end()
    assert names(root) == before
    lent.end()


def test_all_accounts_may_read_the_places_whatever_the_builders_umask(root: Path) -> None:
    before = os.umask(0o077)
    try:
        assert loan(root).begin()
    finally:
        os.umask(before)
    assert all((root / place).stat().st_mode & 0o777 == 0o755 for place in ("lib64", LIBRARIES))


def test_a_loader_beside_others_takes_only_its_own_place_away(tmp_path: Path) -> None:
    (tmp_path / "root/usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (tmp_path / "root/lib").symlink_to("usr/lib")
    lent = loan(tmp_path / "root", "aarch64")
    assert lent.begin()
    assert (tmp_path / "root/usr/lib/ld-linux-aarch64.so.1").is_file()
    lent.end()
    assert names(tmp_path / "root/usr/lib") == ["x86_64-linux-gnu"]


@pytest.mark.parametrize("there", [LOADER, LIBRARIES])
def test_nothing_is_lent_to_a_root_that_has_programs_for_our_processor(root: Path, there: str) -> None:
    (root / there).mkdir(parents=True)
    before = names(root)
    assert not loan(root).begin()
    assert names(root) == before


def test_a_dangling_link_in_a_place_is_left_alone(root: Path, tmp_path: Path) -> None:
    (root / LIBRARIES).symlink_to(tmp_path / "builders")
    assert not loan(root).begin()
    assert not (tmp_path / "builders").exists()


def test_nothing_is_lent_by_a_processor_that_we_do_not_know(root: Path) -> None:
    assert not loan(root, "riscv64").begin()


@pytest.mark.parametrize(("link", "to"), [("lib64", "{out}"), ("usr/lib", "{out}"), ("lib64", "../../out")])
def test_a_place_behind_a_link_that_leads_out_is_refused(tmp_path: Path, link: str, to: str) -> None:
    out = tmp_path / "out"
    root = tmp_path / "deep/root"
    out.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(to.format(out=out))
    with pytest.raises(HatfleetError, match="leads out of the root file system"):
        loan(root).begin()
    assert names(out) == []


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "usr/lib64").mkdir()
    (root / "lib64").symlink_to("usr/lib64")
    lent = loan(root)
    assert lent.begin()
    assert (root / "usr/lib64/ld-linux-x86-64.so.2").is_file()
    lent.end()
    assert names(root / "usr/lib64") == []


def test_what_is_judged_or_knows_its_processor_is_not_lent() -> None:
    assert not set(PROGRAMS) & {"uname", "arch", "dpkg", "dpkg-query", "apt-get", "perl", "bash", "su", "sudo", "sshd"}
    assert len(set(PROGRAMS)) == len(PROGRAMS)


def test_the_script_names_every_place(root: Path) -> None:
    script = loan(root).script
    assert "@" not in script.replace('"$@"', "")
    assert all(f'"$root/{place}"' in script for place in (LOADER, LIBRARIES))
    assert f'cp "$@" "$root{FOLDER}"' in script


def test_by_default_the_processor_is_this_machines(root: Path) -> None:
    assert Loan(root, root).machine == os.uname().machine
