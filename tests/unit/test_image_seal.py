"""What a sealed root file system holds, and where that which changes has gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.image import data
from hatfleet.image.disk import TableType
from hatfleet.image.seal import FACTORY, FACTORY_STATE, STATE_LIST, layout_text, seal, slot_rules
from tests.unit.disk_images import image_layout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("etc/ssh", "usr/lib/udev/rules.d", "var/lib/dpkg/info", "var/log/journal", "var/cache/apt/archives"):
        (root / folder).mkdir(parents=True)
    (root / "usr/share").mkdir()
    (root / "etc/hostname").write_text("edge\n")
    (root / "var/lib/dpkg/status").write_text("Package: a\n")
    (root / "var/cache/apt/pkgcache.bin").write_text("x")
    return root


def sealed(root: Path, *state: str, table: TableType = TableType.MBR) -> Path:
    seal(root, state=state, layout=image_layout(table))
    return root


def test_a_file_of_the_device_is_a_link_and_its_content_the_factory_s(root: Path) -> None:
    sealed(root, "/etc/hostname", "/etc/ssh/key")
    assert (root / "etc/hostname").readlink() == Path("/var/lib/hatfleet/state/etc/hostname")
    assert (root / FACTORY_STATE / "etc/hostname").read_text() == "edge\n"
    assert (root / "etc/ssh/key").readlink() == Path("/var/lib/hatfleet/state/etc/ssh/key")
    assert not (root / FACTORY_STATE / "etc/ssh/key").exists()
    assert (root / STATE_LIST).read_text() == "/etc/hostname\n/etc/ssh/key\n"


def test_only_files_can_belong_to_the_device(root: Path) -> None:
    with pytest.raises(HatfleetError, match="/etc/ssh is a folder"):
        sealed(root, "/etc/ssh")


def test_var_is_empty_and_its_content_the_factory_s(root: Path) -> None:
    sealed(root)
    assert list((root / "var").iterdir()) == []
    assert (root / FACTORY / "log/journal").is_dir()
    assert not (root / FACTORY / "cache/apt/pkgcache.bin").exists()


def test_the_package_database_stays_with_the_image(root: Path) -> None:
    sealed(root)
    assert (root / "usr/lib/hatfleet/dpkg/status").read_text() == "Package: a\n"
    assert (root / FACTORY / "lib/dpkg").readlink() == Path("/usr/lib/hatfleet/dpkg")


@pytest.mark.parametrize("table", list(TableType))
def test_scripts_are_told_which_partition_is_which(root: Path, table: TableType) -> None:
    layout = image_layout(table)
    text = layout_text(layout)
    assert f"data_partuuid={layout.partition('data').partuuid}\n" in text
    assert f"data_number={7 if table is TableType.MBR else 6}\n" in text
    sealed(root, table=table)
    for script in ("state.sh", "grow-data.sh", "wipe.sh"):
        assert (root / "usr/lib/hatfleet" / script).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("slot", ["a", "b"])
def test_partitions_are_named_by_the_running_slot(slot: str) -> None:
    layout = image_layout(TableType.GPT)
    other = "b" if slot == "a" else "a"
    lines = [line for line in slot_rules(layout).splitlines() if f'ENV{{hatfleet.slot}}=="{slot}"' in line]
    names = {line.split('SYMLINK+="disk/by-slot/')[1].rstrip('"'): line for line in lines}
    assert layout.partition(f"system_{slot}").partuuid in names["active/system"]
    assert layout.partition(f"boot_{slot}").partuuid in names["active/boot"]
    assert layout.partition(f"system_{other}").partuuid in names["other/system"]
    assert layout.partition(f"boot_{other}").partuuid in names["other/boot"]


def test_wiping_leaves_the_mark_that_the_next_boot_looks_for() -> None:
    script = (Path(data.__file__).parent / "files" / "wipe.sh").read_text()
    assert f"mark='{data.MARK.decode()}'" in script
    assert f"mark_block={data.MARK_OFFSET_BYTES // 4096}\n" in script
