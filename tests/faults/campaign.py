"""Interrupts many runs at random instants, and after each looks for damage, mends it and proves that it is mended."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.delay_proxy import Proxy
from tests.faults.device import Look, look, look_when_settled
from tests.faults.inject import Crash, Ended, Fault, Instant, run, run_and_interrupt, start, wait_for_connection
from tests.faults.site import FILES, FaultSite

#: How a run may end after each fault: 0 when it was done before, 1 or 3 (unreachable) when the network failed. Ctrl-C
#: that comes while Python is already leaving ends it by the signal, which a shell reports as the same 130.
EXPECTED = {
    Fault.KILL: {-9, 0},
    Fault.KILL_ALL: {-9, 0},
    Fault.INTERRUPT: {130, -signal.SIGINT, 0},
    Fault.DROP: {0, 1, 3},
    Fault.TRUNCATE: {0, 1, 3},
    Fault.STALL: {0},
    Fault.CRASH: {0, 1, 3},
}


@dataclass(frozen=True)
class Result:
    """What an interruption did.

    Attributes:
        instant: What happened, and when.
        status: How the interrupted run ended.
        part_way: Number of devices that were left with some files of the old version and some of the new.
        damage: Everything that must not be; empty when nothing was lost.
    """

    instant: Instant
    status: int | None
    part_way: int
    damage: tuple[str, ...]


def kill_at(
    site: FaultSite,
    proxy: Proxy,
    *,
    instants: int,
    seed: int,
    crash: Crash | None,
    on_result: Callable[[Result], None],
) -> list[Result]:
    """Interrupt ``instants`` runs, the faults taking turns, each at an instant of its own.

    Args:
        site: The site with its devices.
        proxy: The proxy in front of them.
        instants: How many.
        seed: Of the random instants.
        crash: How the devices are crashed; without it they never are.
        on_result: Told after each.

    Raises:
        AssertionError: a run that nobody interrupts fails.
    """
    dice = random.Random(seed)
    longest_s, most_bytes = _calibrate(site, proxy)
    faults = [fault for fault in Fault if crash is not None or fault is not Fault.CRASH]
    results = []
    for number in range(instants):
        fault = faults[number % len(faults)]
        instant = Instant.choose(dice, fault, longest_s=longest_s, most_bytes=most_bytes)
        result = _interrupt(site, proxy, instant, crash, new=number + 3)
        on_result(result)
        results.append(result)
    return results


def _calibrate(site: FaultSite, proxy: Proxy) -> tuple[float, int]:
    """Run twice without a fault; return how long the second, which changes everything, took and sent per device."""
    for version in (1, 2):
        site.write(version)
        proxy.take_counters()
        with (site.folder / "interrupted.txt").open("w+") as output:
            process = start(site.folder, output)
            wait_for_connection(process, proxy)
            started = time.monotonic()
            status = process.wait()
            output.seek(0)
            assert status == 0, output.read()
        looks = [look(connection) for connection in site.devices.values()]
        assert not any(seen.broken(version) for seen in looks), [seen.broken(version) for seen in looks]
    return time.monotonic() - started, max(counted.up_bytes for counted in proxy.take_counters())


def _interrupt(site: FaultSite, proxy: Proxy, instant: Instant, crash: Crash | None, *, new: int) -> Result:
    site.write(new)
    damage: list[str] = []
    ended: Ended | None = None
    try:
        ended = run_and_interrupt(site.folder, proxy, instant, crash)
    except TimeoutError as error:
        damage.append(str(error))
    if ended is not None:
        damage += _judge_run(instant, ended)
    looks = {name: look_when_settled(connection) for name, connection in site.devices.items()}
    for name, seen in looks.items():
        damage += [f"{name}: {what}" for what in seen.broken(new - 1, new)]
        if instant.fault is not Fault.CRASH:  # nobody was left to tidy up; the next run must
            damage += [f"{name}: {path} was left behind" for path in seen.strays]
    damage += _mend(site, new)
    part_way = sum(0 < seen.of_version(new) < len(FILES) for seen in looks.values())
    return Result(instant, ended.status if ended else None, part_way, tuple(damage))


def _judge_run(instant: Instant, ended: Ended) -> list[str]:
    damage = []
    if ended.status not in EXPECTED[instant.fault]:
        damage.append(f"the run ended with {ended.status}: {ended.output[-500:]}")
    if "Traceback" in ended.output:
        damage.append(f"the run ended with a traceback: {ended.output[-500:]}")
    if ended.orphans:
        damage.append(f"{ended.orphans} processes went on working after the command line was killed")
    return damage


def _mend(site: FaultSite, version: int) -> list[str]:
    """Run again, run once more, check; return what is wrong with that."""
    damage = []
    report = site.folder / "report.json"
    again = run(site.folder, "apply", "-i", "direct")
    if again.status != 0:
        damage.append(f"the next run ended with {again.status}: {again.output[-500:]}")
    for name, connection in site.devices.items():
        damage += [f"{name}, after the next run: {what}" for what in _unmended(look(connection), version)]
    once_more = run(site.folder, "apply", "-i", "direct", "--report", str(report))
    if once_more.status != 0 or (changes := _changes(json.loads(report.read_text()))):
        damage.append(f"a further run ended with {once_more.status}, changing {changes}")
    check = run(site.folder, "check", "-i", "direct")
    if check.status != 0:
        damage.append(f"check ended with {check.status}: {check.output[-500:]}")
    return damage


def _unmended(seen: Look, version: int) -> Sequence[str]:
    wrong = [*seen.broken(version), *(f"{path} was left behind" for path in seen.strays)]
    if not seen.follows(version):
        wrong.append("the command that follows a change never ran for this change")
    return wrong


def _changes(report: dict[str, list[dict[str, list[dict[str, str]]]]]) -> list[str]:
    return [
        f"{host['name']}: {operation['name']}"
        for host in report["hosts"]
        for operation in host["operations"]
        if operation["status"] != "ok"
    ]
