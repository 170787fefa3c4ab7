"""Fault injection sees damage: a part of a file, a mixture, a wrong mode, a temporary file, a lost follow-up."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace

import pytest

from tests.faults.device import Look
from tests.faults.inject import Fault, Instant
from tests.faults.site import APPLIED, CONFIG, FILES, FOLDER, LINK, content, digest, link_target

SECRET = f"{FOLDER}/02-secret"


def _healthy(version: int) -> Look:
    rows = {("sum", path, digest(path, version)) for path in FILES}
    rows |= {("mode", path, mode.lstrip("0")) for path, (_, mode) in FILES.items()}
    rows |= {("folder", FOLDER, "-"), ("folder", f"{FOLDER}/sub", "-")}
    rows |= {("link", LINK, link_target(version)), ("applied", APPLIED, digest(CONFIG, version))}
    return Look(frozenset(rows))


def _with(look: Look, kind: str, path: str, value: str) -> Look:
    rest = {row for row in look.found if row[:2] != (kind, path)}
    return replace(look, found=frozenset({*rest, (kind, path, value)}))


def test_a_device_of_one_version_is_whole() -> None:
    look = _healthy(4)
    assert not look.broken(4)
    assert not look.broken(3, 4)
    assert not look.strays
    assert look.follows(4)
    assert look.of_version(4) == len(FILES)


def test_old_and_new_files_side_by_side_are_whole_on_the_way_but_not_at_the_end() -> None:
    look = _with(_healthy(4), "sum", CONFIG, digest(CONFIG, 3))
    assert not look.broken(3, 4)
    assert look.broken(4)
    assert look.of_version(3) == 1


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_part_of_a_file_is_damage(keep: float) -> None:
    whole = content(SECRET, 4, FILES[SECRET][0])
    part = hashlib.sha256(whole[: int(len(whole) * keep)].encode()).hexdigest()
    assert _with(_healthy(4), "sum", SECRET, part).broken(3, 4) == [f"{SECRET} is not whole"]


def test_a_missing_file_a_wrong_mode_and_a_wrong_link_are_damage() -> None:
    missing = replace(_healthy(4), found=frozenset(row for row in _healthy(4).found if row[1] != SECRET))
    assert missing.broken(3, 4) == [f"{SECRET} is missing"]
    assert _with(_healthy(4), "mode", SECRET, "644").broken(3, 4) == [f"{SECRET} has mode 644"]
    assert _with(_healthy(4), "link", LINK, "elsewhere").broken(3, 4)


def test_temporary_files_are_strays() -> None:
    stray = f"{FOLDER}/sub/.hatfleet.Ab3dE6gH"
    assert _with(_healthy(4), "mode", stray, "600").strays == [stray]


def test_a_follow_up_that_never_ran_is_seen() -> None:
    assert not _with(_healthy(4), "applied", APPLIED, digest(CONFIG, 3)).follows(4)


def test_the_same_seed_gives_the_same_instants() -> None:
    def choose(seed: int) -> list[Instant]:
        dice = random.Random(seed)
        return [Instant.choose(dice, fault, longest_s=3.0, most_bytes=1000) for fault in Fault]

    assert choose(1) == choose(1) != choose(2)
    assert all(0 <= instant.seconds <= 3 and 0 <= instant.sent_bytes < 1000 for instant in choose(1))
