"""What a build asks of the machine, before it makes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError, MissingToolError
from hatfleet.image import machine


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.TOOLS, "mmdebstrap-that-is-not-there", "mmdebstrap")
    with pytest.raises(MissingToolError, match="mmdebstrap-that-is-not-there is not installed") as caught:
        machine.require_machine("arm64")
    assert "apt-get install mmdebstrap" in (caught.value.hint or "")


def test_a_machine_on_which_nothing_is_built_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    with pytest.raises(InputError, match="built on aarch64, x86_64; this machine is riscv64"):
        machine.host_arch()


def test_too_little_space_names_path_needed_and_free(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{tmp_path}: 999999999 MiB needed, \d+ MiB free"):
        machine.require_space(tmp_path, 999_999_999)
    machine.require_space(tmp_path / "made", 1)


@pytest.fixture
def binfmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the kernel's; writing ``register`` there only records what was written."""
    folder = tmp_path / "binfmt_misc"
    folder.mkdir()
    (folder / "register").touch()
    monkeypatch.setattr(machine, "_BINFMT", folder)
    return folder


def test_a_usable_emulator_is_left_alone(binfmt: Path) -> None:
    (binfmt / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu\nflags: POF\n")
    machine.register_emulator("aarch64")
    assert (binfmt / "register").read_text() == ""


@pytest.mark.parametrize("entry", ["disabled\nflags: POF\n", "enabled\nflags: P\n", None])
def test_an_unusable_emulator_is_registered_anew(binfmt: Path, entry: str | None) -> None:
    if entry:
        (binfmt / "qemu-aarch64").write_text(entry)
    machine.register_emulator("aarch64")
    written = (binfmt / "register").read_text()
    assert written.startswith(":qemu-aarch64:M:") and "F" in written.rpartition(":")[2]


def test_a_missing_emulator_is_named_with_its_package(binfmt: Path) -> None:
    with pytest.raises(MissingToolError, match="qemu-mips128"):
        machine.register_emulator("mips128")


def test_a_kernel_that_refuses_is_an_error_with_advice(binfmt: Path) -> None:
    (binfmt / "register").unlink()
    (binfmt / "register").mkdir()
    with pytest.raises(HatfleetError, match="cannot run aarch64 programs") as caught:
        machine.register_emulator("aarch64")
    assert "qemu-user-static" in (caught.value.hint or "")
