"""Which QEMU emulates: the installed one where it is new or nothing else can be had, else the fetched one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hatfleet.common.errors import MissingToolError
from hatfleet.common.paths import cache_dir
from hatfleet.lab import emulator

OLD, NEW = "QEMU emulator version 7.2.22 (Debian 1:7.2)", "QEMU emulator version 10.0.13 (Debian 1:10.0)"

#: Makes what mmdebstrap makes for us: an archive with QEMU, a library and a linker, beside what is not wanted.
FETCHES = """
for last; do :; done
cd "$(mktemp -d)"
mkdir -p usr/bin usr/lib/cpu-linux-gnu usr/share/qemu usr/share/doc
echo new >usr/bin/qemu-system-aarch64
: >usr/lib/cpu-linux-gnu/libc.so.6; : >usr/lib/cpu-linux-gnu/ld-linux-cpu.so.2
: >usr/share/qemu/rom; : >usr/share/doc/unwanted
tar -cf "$last" .
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come first, and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def install(programs: Path, name: str, script: str) -> Path:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_an_installed_one_that_is_new_is_used_and_nothing_fetched(programs: Path) -> None:
    installed = install(programs, "qemu-system-aarch64", f"echo '{NEW}'")
    install(programs, "mmdebstrap", "exit 1")
    emulator.prepare()
    assert emulator.program() == [str(installed)]
    assert not cache_dir().exists()


def test_beside_an_old_one_a_newer_one_is_fetched_once(
    programs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    installed = install(programs, "qemu-system-aarch64", f"echo '{OLD}'")
    assert emulator.program() == [str(installed)]
    install(programs, "mmdebstrap", f"echo x >>{tmp_path}/times\n{FETCHES}")
    (cache_dir() / "emulator" / ".new-killed").mkdir(parents=True)
    emulator.prepare()
    emulator.prepare()
    assert (tmp_path / "times").read_text() == "x\n"
    assert "fetch QEMU" in capfd.readouterr().err

    linker, _, libraries, binary, _, roms = emulator.program()
    # How a process is told to be an emulator of ours: by its first word.
    assert "qemu-system" in linker
    assert linker == f"{libraries}/ld-linux-cpu.so.2"
    assert Path(binary).read_text() == "new\n"
    assert (Path(roms) / "rom").exists()
    (tree,) = (cache_dir() / "emulator").glob("[!.]*")
    assert not (tree / "usr/share/doc").exists()
    assert [path.name for path in tree.parent.glob(".new-*")] == []


def test_where_none_can_be_fetched_the_installed_one_is_used_and_that_is_said(
    programs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    installed = install(programs, "qemu-system-aarch64", f"echo '{OLD}'")
    install(programs, "mmdebstrap", "echo 'E: the network is down' >&2; exit 100")
    emulator.prepare()
    assert emulator.program() == [str(installed)]
    assert "the installed QEMU 7 emulates instead: E: the network is down" in capfd.readouterr().err
    assert [path for path in (cache_dir() / "emulator").iterdir() if path.is_dir()] == []


def test_without_any_the_package_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hatfleet.common.run.shutil.which", lambda tool, path: None)
    for ask in (emulator.prepare, emulator.program):
        with pytest.raises(MissingToolError) as caught:
            ask()
        assert "qemu-system-arm" in str(caught.value.hint)


def test_the_words_start_a_qemu_for_64_bit_arm() -> None:
    said = subprocess.run([*emulator.program(), "-machine", "help"], capture_output=True, text=True, check=True)
    assert "virt" in said.stdout
