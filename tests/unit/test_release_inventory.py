"""What is installed, read from a root file system's archive; what is damaged is named."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from hatfleet.image.release.inventory import Inventory, InventoryError, read_inventory
from hatfleet.image.release.licences import Licence, read_copyright, spdx_expression

STATUS = """\
Package: libc6
Status: install ok installed
Priority: optional
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: arm64
Source: glibc
Version: 2.41-12
Description: GNU C Library: Shared libraries
 Contains the standard libraries: Package: is only text here.
 .
 More.

Package: bash
Status: hold ok installed
Architecture: arm64
Version: 5.2.37-2+b5
Source: bash (5.2.37-2)

Package: gone
Status: deinstall ok config-files
Architecture: arm64
Version: 1

Package: libc-bin
Status: install ok installed
Architecture: arm64
Source: glibc
Version: 2.41-12
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: glibc

Files: *
Copyright: 1991-2025 Free Software Foundation
License: LGPL-2.1+

Files: debian/*
Copyright: somebody
License: GPL-2+ or Artistic

License: GPL-3
 This paragraph is about no file.
"""

METADATA = """\
Metadata-Version: 2.1
Name: Flask_Thing.x
Version: 3.0
Classifier: License :: OSI Approved :: MIT License
License: some prose

Version: 9.9 is only in the description
"""


def make_archive(path: Path, files: dict[str, str | bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "var/lib/dpkg/status": STATUS,
        "usr/share/doc/libc6/copyright": COPYRIGHT,
        "usr/share/doc/bash/copyright": "In prose: it is free.",
        "usr/lib/python3/dist-packages/Flask_Thing.x-3.0.dist-info/METADATA": METADATA,
        "opt/app/flask-3.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: flask\nVersion: 3.0\n"
        "License-Expression: BSD-3-Clause\n",
        "opt/app/flask-3.0.dist-info/RECORD": b"\xff",
    }
    return make_archive(tmp_path / "rootfs.tar", files, {"usr/share/doc/libc-bin": "libc6"})


def read(archive: Path) -> Inventory:
    return read_inventory(archive)


def test_packages_are_those_installed_sorted_with_their_sources(archive: Path) -> None:
    found = [(one.name, one.version, one.arch, one.source, one.source_version) for one in read(archive).debian]
    assert found == [
        ("bash", "5.2.37-2+b5", "arm64", "bash", "5.2.37-2"),
        ("libc-bin", "2.41-12", "arm64", "glibc", "2.41-12"),
        ("libc6", "2.41-12", "arm64", "glibc", "2.41-12"),
    ]


def test_licences_come_from_the_copyright_file_also_through_a_link(archive: Path) -> None:
    bash, libc_bin, libc6 = read(archive).debian
    assert bash.licence == Licence()
    assert libc6.licence.names == ("GPL-2+ or Artistic", "LGPL-2.1+")
    assert libc6.licence.expression == "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND LGPL-2.1-or-later"
    assert libc_bin.licence == libc6.licence
    assert libc_bin.copyright_sha256 == libc6.copyright_sha256 == hashlib.sha256(COPYRIGHT.encode()).hexdigest()
    assert libc6.maintainer.startswith("GNU Libc Maintainers")


def test_python_distributions_are_found_wherever_they_lie(archive: Path) -> None:
    found = [(one.name, one.version, one.path, one.licence.expression) for one in read(archive).python]
    assert found == [
        ("flask", "3.0", "opt/app/flask-3.0.dist-info", "BSD-3-Clause"),
        ("flask-thing-x", "3.0", "usr/lib/python3/dist-packages/Flask_Thing.x-3.0.dist-info", None),
    ]
    assert read(archive).python[1].licence.names == ("MIT License",)


def test_moved_database_comes_before_the_one_in_var(tmp_path: Path) -> None:
    moved = STATUS.replace("2.41-12", "2.41-13")
    files: dict[str, str | bytes] = {"var/lib/dpkg/status": STATUS, "usr/lib/hatfleet/dpkg/status": moved}
    assert read(make_archive(tmp_path / "a.tar", files)).debian[1].version == "2.41-13"
    del files["var/lib/dpkg/status"]
    assert len(read(make_archive(tmp_path / "b.tar", files)).debian) == 3


def test_dpkg_agrees_on_its_own_database(tmp_path: Path) -> None:
    status = Path("/var/lib/dpkg/status").read_text()
    archive = make_archive(tmp_path / "rootfs.tar", {"var/lib/dpkg/status": status})
    command = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Package} ${Version} ${source:Package} ${source:Version}\n"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = sorted(line.split()[1:] for line in lines if line.split()[0] not in ("config-files", "not-installed"))
    assert sorted([one.name, one.version, one.source, one.source_version] for one in read(archive).debian) == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Status: install ok installed\nPriority", "Priority"), r"status:1 is damaged: .* without the field Status"),
        (("Version: 2.41-12\nDescription", "Description"), "libc6 has no field Version"),
        (("Package: bash\n", ""), r"status:13 is damaged: a package without the field Package"),
        (("Status: hold ok installed", "Status: installed"), "'installed' is no status"),
        (("Priority: optional", "Priority optional"), r"status:3 is damaged: 'Priority optional' is no field"),
        (("Priority: optional", "Package: libc7"), "is no field, or there twice"),
        (("bash (5.2.37-2)", "bash (5.2"), "is no source package"),
        (("Package: bash", " Package: bash"), r"status:13 is damaged: a paragraph begins in the middle"),
    ],
)
def test_damaged_status_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in STATUS
    with pytest.raises(InventoryError, match=message):
        read(make_archive(tmp_path / "rootfs.tar", {"var/lib/dpkg/status": STATUS.replace(*change)}))


def test_status_cut_off_in_a_package_is_damaged(tmp_path: Path) -> None:
    cut = STATUS[: STATUS.index("Architecture: arm64\nVersion: 5")]
    with pytest.raises(InventoryError, match="bash has no field Version"):
        read(make_archive(tmp_path / "rootfs.tar", {"var/lib/dpkg/status": cut}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no field Metadata-Version"),
        ("Metadata-Version: 2.1\nName: x\n", "no field Version"),
        ("Metadata-Version: 2.1\nName: \nVersion: 1\n", "no field Name"),
        (b"Metadata-Version: 2.1\nName: \xff\n", "not UTF-8 at byte 28"),
    ],
)
def test_damaged_metadata_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    files = {"var/lib/dpkg/status": STATUS, "opt/x-1.dist-info/METADATA": content}
    with pytest.raises(InventoryError, match=f"/opt/x-1.dist-info/METADATA is damaged: .*{message}"):
        read(make_archive(tmp_path / "rootfs.tar", files))


def test_archive_without_a_database_cut_off_or_missing_is_named(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"empty\.tar: there is neither"):
        read(make_archive(tmp_path / "empty.tar", {}))
    with archive.open("r+b") as handle:
        handle.truncate(700)
    with pytest.raises(InventoryError, match=r"rootfs\.tar: the archive is damaged"):
        read(archive)
    with pytest.raises(InventoryError, match=r"nothing\.tar"):
        read(tmp_path / "nothing.tar")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    links = {"usr/share/doc/bash": "libc6", "usr/share/doc/libc6": "bash"}
    found = read(make_archive(tmp_path / "rootfs.tar", {"var/lib/dpkg/status": STATUS}, links))
    assert found.debian[0].copyright_sha256 is None


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("Apache-2.0", "Apache-2.0"),
        ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
        ("LGPL-2.1+ and Expat", "LGPL-2.1-or-later AND MIT"),
        ("GPL-2+ or AFL-2.1, and Expat", None),
        ("GPL-2+ with OpenSSL exception", None),
        ("public-domain", None),
        ("GPL", None),
        ("and", None),
        ("", None),
    ],
)
def test_names_of_licences_in_spdx_words_or_not_at_all(name: str, expression: str | None) -> None:
    assert spdx_expression(name) == expression


def test_one_unknown_licence_leaves_the_whole_without_an_expression() -> None:
    text = COPYRIGHT + "\nFiles: x\nCopyright: y\nLicense: public-domain\n"
    assert read_copyright(text) == Licence(("GPL-2+ or Artistic", "LGPL-2.1+", "public-domain"), None)
    assert "GPL-3" not in read_copyright(text).names
