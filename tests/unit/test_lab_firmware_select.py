"""Which partition is booted, as a model: every state of the disk and of the flag that an update can leave behind."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from hatfleet.lab.firmware.errors import FirmwareError
from hatfleet.lab.firmware.select import Choice, Volume, select
from hatfleet.lab.firmware.volume import FatVolume
from hatfleet.lab.mailbox import TRYBOOT, RebootFlags
from tests.unit.lab_disks import MemoryVolume, autoboot, boot_sig, make_fat, make_key, slot

GOOD = MemoryVolume(slot())
NO_KERNEL = MemoryVolume(slot(vmlinuz=None))
EMPTY = MemoryVolume({})

#: What autoboot.txt may be found as.
CONTENTS = {
    "to A": autoboot(2, 3),
    "to B": autoboot(3, 2),
    "garbage": b"\xa5" * 512,
    "zeros": bytes(512),
    "too long": autoboot() * 2,
    "to a partition that is not there": autoboot(7, 9),
    "to itself": autoboot(1, 1),
    "missing": None,
}


def disk(content: bytes | None, a: MemoryVolume = GOOD, b: MemoryVolume = GOOD) -> dict[int, Volume]:
    files = {} if content is None else {"autoboot.txt": content}
    return {1: MemoryVolume(files), 2: a, 3: b}


def chosen(
    volumes: Mapping[int, Volume], *, tryboot: bool = False, key: RSAPublicKey | None = None
) -> tuple[Choice, list[str]]:
    log: list[str] = []
    return select(volumes, tryboot=tryboot, key=key, log=log.append), log


# --- the ordinary ways ---


@pytest.mark.parametrize(
    ("content", "tryboot", "partition", "command_line"),
    [
        ("to A", False, 2, "cmdline-a.txt"),
        ("to A", True, 3, "cmdline-b.txt"),
        ("to B", False, 3, "cmdline-b.txt"),
        ("to B", True, 2, "cmdline-a.txt"),
    ],
)
def test_autoboot_and_the_flag_choose_partition_and_command_line(
    content: str, *, tryboot: bool, partition: int, command_line: str
) -> None:
    choice, log = chosen(disk(CONTENTS[content]), tryboot=tryboot)
    assert (choice.partition, choice.tryboot, choice.config.command_line) == (partition, tryboot, command_line)
    assert f"partition {partition} is chosen by autoboot.txt" in log


@pytest.mark.parametrize("content", ["garbage", "zeros", "too long", "missing", "to itself"])
def test_without_a_usable_autoboot_the_walk_finds_the_first_slot(content: str) -> None:
    choice, log = chosen(disk(CONTENTS[content]))
    assert choice.partition == 2
    assert "partition 1 cannot be booted: it has no vmlinuz" in log


def test_the_walk_goes_on_after_the_wanted_partition_and_then_from_the_start() -> None:
    choice, log = chosen({**disk(autoboot(3, 2), GOOD, NO_KERNEL), 4: GOOD})
    assert choice.partition == 4
    assert "partition 3 cannot be booted: it has no vmlinuz" in log
    assert chosen(disk(autoboot(3, 2), GOOD, NO_KERNEL))[0].partition == 2


def test_the_walk_ends_at_partition_eight() -> None:
    with pytest.raises(FirmwareError):
        chosen({1: EMPTY, 9: GOOD})


def test_an_error_names_what_every_partition_lacks() -> None:
    with pytest.raises(FirmwareError) as caught:
        chosen(disk(autoboot(), NO_KERNEL, EMPTY))
    assert "partition 2 has no vmlinuz; partition 3 has no vmlinuz; partition 1 has no vmlinuz" in str(caught.value)


def test_a_disk_without_a_fat_is_an_error() -> None:
    with pytest.raises(FirmwareError, match="no FAT partition"):
        chosen({})


def test_without_tryboot_a_b_a_trial_is_another_file_in_the_same_partition() -> None:
    trial = MemoryVolume({**slot(), "tryboot.txt": b"kernel=vmlinuz\ncmdline=trial.txt\n"})
    content = b"boot_partition=2\n"
    assert chosen(disk(content, trial), tryboot=True)[0].config.command_line == "trial.txt"
    assert chosen(disk(content, trial))[0].config.command_line == "cmdline-a.txt"


def test_a_trial_without_tryboot_a_b_and_without_tryboot_txt_ends_in_an_ordinary_boot() -> None:
    choice, log = chosen(disk(b"boot_partition=2\n"), tryboot=True)
    assert (choice.partition, choice.tryboot) == (2, False)
    assert "partition 2 cannot be booted: it has no tryboot.txt (tryboot_a_b is not set)" in log
    assert "nothing can be booted on trial; restart without the flag" in log


def test_an_image_without_config_txt_boots_its_default_names() -> None:
    choice, _ = chosen({1: MemoryVolume({"vmlinuz": b"", "initrd.img": b"", "cmdline.txt": b"ro\n"})})
    assert (choice.partition, choice.config.initramfs) == (1, "initrd.img")


# --- signed boot images ---

KEY = make_key()
IMAGE = b"the bytes of a boot image"


def signed(proof: bytes | None, *, inside: MemoryVolume = GOOD, image: bytes = IMAGE) -> MemoryVolume:
    files = {"config.txt": b"boot_ramdisk=1\n", "boot.img": image}
    if proof is not None:
        files["boot.sig"] = proof
    return MemoryVolume(files, {"boot.img": inside})


GENUINE = signed(boot_sig(IMAGE, KEY))


@pytest.mark.parametrize(
    ("tryboot", "partition", "command_line"), [(False, 2, "cmdline-a.txt"), (True, 3, "cmdline-b.txt")]
)
def test_the_filters_inside_a_signed_image_see_the_partition_it_lies_on(
    *, tryboot: bool, partition: int, command_line: str
) -> None:
    choice, log = chosen(disk(autoboot(), GENUINE, GENUINE), tryboot=tryboot, key=KEY.public_key())
    assert (choice.partition, choice.config.command_line, choice.signed) == (partition, command_line, True)
    assert f"boot.img of partition {partition} is signed with the pinned key" in log


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (GOOD, "has no boot.img"),
        (signed(None), "has no boot.sig"),
        (signed(boot_sig(IMAGE, make_key("another"))), "is not trusted: boot.sig was not made with the key"),
        (signed(boot_sig(IMAGE, KEY), image=IMAGE + b"!"), "is not trusted: boot.sig is about another"),
        (signed(b"rubbish"), "is not trusted: boot.sig is not in the format"),
        (signed(boot_sig(IMAGE, KEY), inside=NO_KERNEL), "has no vmlinuz"),
    ],
)
def test_with_a_pinned_key_nothing_but_a_signed_image_boots_and_the_walk_goes_on(
    volume: MemoryVolume, reason: str
) -> None:
    choice, log = chosen(disk(autoboot(), volume, GENUINE), key=KEY.public_key())
    assert choice.partition == 3
    assert any(f"partition 2 cannot be booted: it {reason}" in line for line in log)
    with pytest.raises(FirmwareError):
        chosen(disk(autoboot(), volume, volume), key=KEY.public_key())


def test_without_a_key_a_ramdisk_boots_unchecked_and_the_log_says_so() -> None:
    choice, log = chosen(disk(autoboot(), signed(None), EMPTY))
    assert (choice.partition, choice.signed) == (2, False)
    assert "boot.img of partition 2 is not signature-checked" in log


# --- the model: every state an update may leave ---


def bootable(volume: MemoryVolume) -> bool:
    return volume is GOOD


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("a", "b"), list(itertools.product((GOOD, NO_KERNEL, EMPTY), repeat=2)))
@pytest.mark.parametrize("tryboot", [False, True])
def test_if_any_slot_can_be_booted_one_is_booted(
    content: str, a: MemoryVolume, b: MemoryVolume, *, tryboot: bool
) -> None:
    volumes = disk(CONTENTS[content], a, b)
    can = {number for number, volume in ((2, a), (3, b)) if bootable(volume)}
    if can:
        assert chosen(volumes, tryboot=tryboot)[0].partition in can
    else:
        with pytest.raises(FirmwareError):
            chosen(volumes, tryboot=tryboot)


@given(
    content=st.one_of(st.sampled_from(list(CONTENTS.values())), st.binary(max_size=520)),
    a=st.sampled_from([GOOD, NO_KERNEL, EMPTY]),
    b=st.sampled_from([GOOD, NO_KERNEL, EMPTY]),
    armed=st.lists(st.booleans(), min_size=1, max_size=6),
)
def test_whatever_is_armed_the_flag_never_survives_a_boot(
    content: bytes | None, a: MemoryVolume, b: MemoryVolume, armed: list[bool]
) -> None:
    volumes, flags = disk(content, a, b), RebootFlags()
    for arm in armed:
        flags.value |= TRYBOOT if arm else 0
        tryboot = flags.take_tryboot()
        assert tryboot is arm
        assert flags.value == 0
        if bootable(a) or bootable(b):
            assert arm or not chosen(volumes, tryboot=tryboot)[0].tryboot


@pytest.mark.parametrize(("committed", "trial"), [(2, 3), (3, 2)])
@pytest.mark.parametrize("broken", [GOOD, NO_KERNEL, EMPTY])
def test_after_a_trial_whatever_came_of_it_the_old_slot_is_booted(
    committed: int, trial: int, broken: MemoryVolume
) -> None:
    volumes = {**disk(autoboot(committed, trial)), trial: broken}
    flags = RebootFlags(TRYBOOT)
    first, _ = chosen(volumes, tryboot=flags.take_tryboot())
    assert first.partition == (trial if bootable(broken) else committed)
    second, _ = chosen(volumes, tryboot=flags.take_tryboot())
    assert (second.partition, second.tryboot) == (committed, False)


# --- a commit: the one sector of autoboot.txt, rewritten in place on a real FAT ---


@pytest.fixture(scope="module", params=["mformat", "mkfs.vfat"])
def bootcfg(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bootcfg") / "bootcfg.fat"
    if request.param == "mformat":
        return make_fat(path, {"autoboot.txt": autoboot(2, 3)})
    path.write_bytes(bytes(34 << 20))
    subprocess.run(["/usr/sbin/mkfs.vfat", "-F", "32", "-s", "1", path], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mcopy", "-i", path, "-", "::autoboot.txt"], input=autoboot(2, 3), check=True)
    return path


def sector_of(fat: Path, name: str) -> int:
    """Where the first cluster of a file lies, in bytes, as mtools reads it from the directory and the FAT."""
    ranges = subprocess.run(["mshowfat", "-i", fat, f"::{name}"], check=True, capture_output=True, text=True).stdout
    (cluster,) = [int(word.strip("<>").split("-")[0]) for word in ranges.split()[1:]]
    head = fat.read_bytes()[:512]
    per_cluster, reserved, tables = head[13], int.from_bytes(head[14:16], "little"), head[16]
    roots = int.from_bytes(head[17:19], "little")
    length = int.from_bytes(head[22:24], "little") or int.from_bytes(head[36:40], "little")
    data = reserved + tables * length + roots * 32 // 512
    return (data + (cluster - 2) * per_cluster) * 512


TORN = {
    "nothing written": autoboot(2, 3),
    "all written": autoboot(3, 2),
    "garbage": bytes(range(256)) * 2,
    "zeros": bytes(512),
    "ones": b"\xff" * 512,
    "new head, old tail": autoboot(3, 2)[:30] + autoboot(2, 3)[30:],
    "old head, new tail": autoboot(2, 3)[:60] + autoboot(3, 2)[60:],
    "new head, zeros": autoboot(3, 2)[:30] + bytes(482),
}


@pytest.mark.parametrize("state", TORN)
@pytest.mark.parametrize("tryboot", [False, True])
def test_after_every_prefix_of_a_commit_and_with_a_torn_sector_a_slot_is_booted(
    bootcfg: Path, tmp_path: Path, state: str, *, tryboot: bool
) -> None:
    """The file has one sector, so that a commit is one write: before it, after it, or torn."""
    assert len(autoboot()) == 512
    place = sector_of(bootcfg, "autoboot.txt")
    before = bootcfg.read_bytes()
    assert before[place : place + 512] == autoboot(2, 3)
    crashed = tmp_path / "crashed.fat"
    crashed.write_bytes(before[:place] + TORN[state] + before[place + 512 :])
    volume = FatVolume(crashed)
    assert volume.read("autoboot.txt") == TORN[state]
    for a, b in ((GOOD, GOOD), (NO_KERNEL, GOOD), (GOOD, NO_KERNEL)):
        choice, _ = chosen({1: volume, 2: a, 3: b}, tryboot=tryboot)
        assert choice.partition in {number for number, slot in ((2, a), (3, b)) if bootable(slot)}
    if state in ("nothing written", "all written"):
        normal = 2 if state == "nothing written" else 3
        assert chosen({1: volume, 2: GOOD, 3: GOOD})[0].partition == normal
