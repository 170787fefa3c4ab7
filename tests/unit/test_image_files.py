"""The list of files of a root file system: what is in it, and what a damaged one leads to."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.image.inspect.files import (
    FileEntry,
    FileType,
    files_of_archive,
    files_of_folder,
    read_files,
    write_files,
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with everything that a root file system can hold."""
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, content: bytes = b"", **fields: object) -> None:
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(content), 0o644
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content) if content else None)

        add("", type=tarfile.DIRTYPE, mode=0o755)
        add("usr/bin/ping", b"\x7fELF\0", mode=0o4755, pax_headers={"SCHILY.xattr.security.capability": "\x01\udc80"})
        add("usr/bin/ping4", type=tarfile.LNKTYPE, linkname="./usr/bin/ping")
        add("usr/bin/sh", type=tarfile.SYMTYPE, linkname="dash", mode=0o777)
        add("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        add("dev/sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0)
        add("run/pipe", type=tarfile.FIFOTYPE)
        add("etc/motd", "grüß\n".encode(), uid=7, gid=8)
        add("etc/shadow", b"root:*:1::::::\n", mode=0o640)
        add("etc/binary", b"\0\1")
        add("etc/latin", b"\xfc")
        add("etc/large", b"x" * 70_000)
        add("usr/share/latin-\udcfc", b"name\n")
        add("usr/share/doc/text", b"not a setting\n")
    return path


def test_every_kind_of_file_is_told(archive: Path) -> None:
    found = {entry.path: entry for entry in files_of_archive(archive)}
    assert list(found) == sorted(found)
    ping = found["usr/bin/ping"]
    assert (ping.type, ping.mode, ping.size) == (FileType.FILE, 0o4755, 5)
    assert ping.sha256 == hashlib.sha256(b"\x7fELF\0").hexdigest()
    assert ping.xattrs == {"security.capability": "0180"}
    assert found["usr/bin/ping4"] == ping.model_copy(update={"path": "usr/bin/ping4"})
    assert (found["usr/bin/sh"].type, found["usr/bin/sh"].target) == (FileType.LINK, "dash")
    assert (found["dev/null"].type, found["dev/null"].target) == (FileType.DEVICE, "character 1:3")
    assert found["dev/sda"].target == "block 8:0"
    assert found["run/pipe"].type is FileType.PIPE
    assert (found["."].type, found["."].mode) == (FileType.FOLDER, 0o755)
    assert "usr/share/latin-\\xfc" in found
    assert (found["etc/motd"].uid, found["etc/motd"].gid) == (7, 8)


def test_only_settings_that_everybody_may_read_are_kept_as_text(archive: Path) -> None:
    texts = {entry.path: entry.text for entry in files_of_archive(archive) if entry.text is not None}
    assert texts == {"etc/motd": "grüß\n"}


def test_it_comes_back_as_it_was_written_and_always_in_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    entries = files_of_archive(archive)
    for name in ("one", "two"):
        write_files(entries, tmp_path / name)
    assert read_files(tmp_path / "one") == entries
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_unpacked_folder_gives_the_same_list_without_owners_and_attributes(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "motd").write_text("hello\n")
    (root / "bin").symlink_to("usr/bin")
    (root / "dangling").symlink_to("/nowhere")
    os.mkfifo(root / "pipe")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(root, ".")
    unknown = {"uid": None, "gid": None, "xattrs": None}
    expected = [entry.model_copy(update=unknown) for entry in files_of_archive(tmp_path / "root.tar")]
    assert list(files_of_folder(root)) == expected


def test_a_cut_off_archive_is_an_error(archive: Path) -> None:
    os.truncate(archive, 2000)
    with pytest.raises(HatfleetError, match="the archive is damaged"):
        files_of_archive(archive)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged or of another version"),
        ("[]", "damaged or of another version"),
        ('{"schema": 2, "files": []}', "of another version: schema: "),
        ('{"schema": 1, "files": [{"path": "a"}]}', "files.0.type: Field required"),
        ('{"schema": 1, "files": [], "more": 1}', "more: Extra inputs"),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    require_refused(tmp_path / "list", gzip.compress(text.encode()), message)


def test_a_list_that_was_cut_off_is_named(tmp_path: Path) -> None:
    require_refused(tmp_path / "list", gzip.compress(b'{"schema": 1, "files": []}')[:-4], "cannot be read")
    require_refused(tmp_path / "list", b"no gzip", "cannot be read")


def require_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_files(path)
    assert error.value.where and error.value.where.file == path


def test_a_list_without_entries_is_a_list(tmp_path: Path) -> None:
    write_files([], tmp_path / "list")
    assert read_files(tmp_path / "list") == ()
    write_files([FileEntry(path="a", type=FileType.PIPE, mode=0)], tmp_path / "list")
    assert read_files(tmp_path / "list")[0].xattrs is None
