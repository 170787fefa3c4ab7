"""Whole folders: laid down from an archive, known again, mended; the shell parts run for real."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatfleet.ops import Archive, OperationError, Upload, file, link, packages, tree, user
from hatfleet.ops.tree import MARKER, TreeRead, mark_script
from tests.unit.target import LocalTarget, compared, declared


@dataclass(frozen=True)
class Tar:
    """An archive with one file; nothing is made before it is asked for."""

    folder: Path
    text: str
    about: str = "one file"

    @property
    def digest(self) -> str:
        return f"digest-of-{self.text}"

    def file(self) -> Path:
        path = self.folder / f"{self.text}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            folder = tarfile.TarInfo("./lib")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
            member = tarfile.TarInfo("./lib/a b'c")
            member.size = len(self.text)
            tar.addfile(member, io.BytesIO(self.text.encode()))
        return path


Lay = Callable[..., list[str]]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Have the folder from an archive with a text; return what was noted, none when nothing differed."""

    def lay(text: str = "one", finish: str = "true", script: Callable[[str], str] = lambda text: text) -> list[str]:
        archive = Tar(tmp_path, text)
        target = LocalTarget()
        (operation,) = compared(lambda: tree(path=str(tmp_path / "it"), archive=archive, finish=finish), target)
        for action in operation.actions:
            assert isinstance(action, Upload)
            ended = target.upload(script(action.script), action.source())
            if ended.status:
                raise OperationError(ended.stderr.decode())
        return [note.what for note in operation.notes]

    return lay


def content(folder: Path) -> str:
    return (folder / "it" / "lib" / "a b'c").read_text()


def test_a_folder_is_laid_down_once(tmp_path: Path, lay: Lay) -> None:
    assert lay() == ["new folder: one file"]
    assert content(tmp_path) == "one"
    assert lay() == []


def test_another_archive_takes_its_place_and_nothing_is_left_beside_it(tmp_path: Path, lay: Lay) -> None:
    lay()
    (tmp_path / "it" / "stray").touch()
    assert lay("two") == ["another version: one file"]
    assert content(tmp_path) == "two"
    assert not (tmp_path / "it" / "stray").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it", "one.tar.gz", "two.tar.gz"]


@pytest.mark.parametrize(
    "damage",
    [
        'echo x >>"lib/a b\'c"',
        'chmod 600 "lib/a b\'c"',
        "chmod 777 lib",
        "chmod 777 .",
        'rm "lib/a b\'c"',
        "touch stray",
        "mkdir stray",
        "ln -s /etc stray",
        f"sed -i '2s/./0/;2s/./1/2' {MARKER}",
        f": >{MARKER}",
        f"rm {MARKER}",
    ],
)
def test_any_change_in_the_folder_is_found_and_mended(tmp_path: Path, lay: Lay, damage: str) -> None:
    lay()
    subprocess.run(["sh", "-c", damage], cwd=tmp_path / "it", check=True)
    assert lay() != []
    assert content(tmp_path) == "one"
    assert lay() == []


def test_what_completes_the_new_folder_runs_before_it_takes_its_place(tmp_path: Path, lay: Lay) -> None:
    lay(finish='cat; echo made >"$new/by-finish"')
    assert (tmp_path / "it" / "by-finish").read_text() == "made\n"
    assert lay() == []


def test_a_failing_completion_leaves_the_old_folder(tmp_path: Path, lay: Lay) -> None:
    lay()
    with pytest.raises(OperationError, match="no room"):
        lay("two", finish="echo no room >&2; exit 1")
    assert content(tmp_path) == "one"
    assert lay() == []


@pytest.mark.parametrize("cut", ["mkdir ", "tar -xz", 'printf "%s', "sync -f"])
def test_cut_off_anywhere_it_leaves_the_old_folder(tmp_path: Path, lay: Lay, cut: str) -> None:
    lay()
    with pytest.raises(OperationError):
        lay("two", script=lambda text: text.replace(cut, f"kill -9 $$; {cut}", 1))
    assert content(tmp_path) == "one"
    lay("two")
    assert content(tmp_path) == "two"
    assert not list(tmp_path.glob("it.hatfleet-*"))


def test_cut_off_between_two_renames_the_next_run_goes_on(tmp_path: Path, lay: Lay) -> None:
    lay()
    # Where two names cannot be exchanged.
    (tmp_path / "it").rename(tmp_path / "it.hatfleet-old")
    assert lay("two") == ["new folder: one file"]
    assert content(tmp_path) == "two"
    assert not list(tmp_path.glob("it.hatfleet-*"))


def test_a_truncated_archive_changes_nothing(tmp_path: Path, lay: Lay) -> None:
    lay()
    archive = Tar(tmp_path, "two")
    (operation,) = compared(lambda: tree(path=str(tmp_path / "it"), archive=archive))
    (upload,) = operation.actions
    assert isinstance(upload, Upload)
    whole = upload.source()
    (tmp_path / "part").write_bytes(whole.read_bytes()[:-40])
    assert LocalTarget().upload(upload.script, tmp_path / "part").status != 0
    assert content(tmp_path) == "one"


def test_a_folder_marked_by_hand_counts_as_laid_down(tmp_path: Path, lay: Lay) -> None:
    """An image is given the folder without the operation, by unpacking it on the building machine."""
    (tmp_path / "it").mkdir()
    subprocess.run(["tar", "-xzf", Tar(tmp_path, "one").file(), "-C", tmp_path / "it"], check=True)
    subprocess.run(["sh", "-c", mark_script("digest-of-one")], cwd=tmp_path / "it", check=True)
    assert lay() == []


def test_nothing_is_made_to_compare_and_the_digest_stands_for_the_content(tmp_path: Path) -> None:
    archive = Tar(tmp_path, "one")
    assert isinstance(archive, Archive)
    compared(lambda: tree(path=str(tmp_path / "it"), archive=archive))
    assert list(tmp_path.iterdir()) == []
    one, same, other = (
        declared(lambda text=text: tree(path="/it", archive=Tar(tmp_path, text)))[0].digest()
        for text in ("one", "one", "two")
    )
    assert one == same != other


def test_a_large_folder_is_not_read_again_for_changes_elsewhere() -> None:
    read = TreeRead.of("/opt/it")
    elsewhere, inside, above, all_over, accounts = declared(
        lambda: (
            file(path="/etc/motd", content=""),
            file(path="/opt/it/lib/x", content=""),
            link(path="/opt", target="/srv"),
            packages(names=["nano"]),
            user(login="anna"),
        )
    )
    assert [one.may_change(read) for one in (elsewhere, accounts)] == [False, False]
    assert [one.may_change(read) for one in (inside, above, all_over)] == [True, True, True]
