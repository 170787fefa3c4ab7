"""Stages and limits of a rollout: what each form means, and that every other is refused."""

from __future__ import annotations

import pytest

from hatfleet.common.errors import InputError
from hatfleet.fleet.rollout import Amount, Rollout, parse_max_fail, parse_serial


def sizes(serial: str, hosts: int) -> list[int]:
    return [len(stage) for stage in Rollout(parse_serial(serial)).stages(range(hosts))]


def test_without_serial_all_hosts_are_one_stage() -> None:
    assert [list(stage) for stage in Rollout().stages("abc")] == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("serial", "hosts", "wanted"),
    [
        ("5", 12, [5, 5, 2]),
        ("50%", 5, [3, 2]),
        ("1%", 3, [1, 1, 1]),
        ("1,10%,100%", 30, [1, 3, 26]),
        ("[1, 10%, 100%]", 30, [1, 3, 26]),
        ("1,2", 6, [1, 2, 2, 1]),
        ("100", 3, [3]),
    ],
)
def test_stages_have_the_sizes_that_are_asked_for(serial: str, hosts: int, wanted: list[int]) -> None:
    assert sizes(serial, hosts) == wanted


def test_stages_hold_every_host_once_and_in_order() -> None:
    stages = Rollout(parse_serial("1,30%,2")).stages(range(101))
    assert [host for stage in stages for host in stage] == list(range(101))


@pytest.mark.parametrize(("text", "hosts", "wanted"), [("0", 10, 0), ("3", 10, 3), ("10%", 11, 2), ("1%", 5, 1)])
def test_percentages_are_rounded_up_and_at_least_one_host(text: str, hosts: int, wanted: int) -> None:
    assert parse_max_fail(text).of(hosts) == wanted


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "ten", "1,,2", "1;2", "[1", "1,0", "٣"])
def test_serial_of_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="--serial") as caught:
        parse_serial(text)
    assert caught.value.message


@pytest.mark.parametrize("text", ["", "-1", "0%", "101%", "1,2", "some"])
def test_max_fail_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--max-fail"):
        parse_max_fail(text)


def test_an_amount_is_shown_as_it_is_written() -> None:
    assert (str(Amount(10, percent=True)), str(Amount(3))) == ("10%", "3")
