"""How an acceptance looks: findings of the gate, controls on the files, then those of the booted device."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hatfleet.acceptance.report import Acceptance, Booted, Offline
from hatfleet.cli.check_view import print_host
from hatfleet.image.gate import Finding


def print_acceptance(found: Acceptance, *, verbose: bool) -> None:
    """Print what is not as it must be, what was allowed and why, and the verdict; more when verbose."""
    console = Console(highlight=False, soft_wrap=True)
    _print_offline(console, found.offline, verbose=verbose)
    if found.booted:
        _print_booted(console, found.booted, verbose=verbose)
    else:
        console.print(Text(f"not booted: {found.not_booted}", "yellow"))
    word, style = ("fit", "green") if found.passed else ("not fit", "bold red")
    console.print(Text.assemble((f"{found.name} {found.version}", "bold"), "  ", (word, style)))


def _print_offline(console: Console, offline: Offline, *, verbose: bool) -> None:
    gate = offline.gate
    state = ("passed", "green") if gate.passed else (f"{len(gate.findings)} findings", "bold red")
    console.print(Text.assemble(("the gate", "bold"), "  ", state, f"  {gate.files} files in {gate.seconds:.1f} s"))
    for finding in gate.findings:
        _print_finding(console, finding)
    for item in gate.waived:
        console.print(Text(f"  ○ allowed: {item.finding} ({item.reason})", "yellow"))
    for warning in gate.warnings:
        console.print(Text(f"  ! {warning}", "yellow"))
    console.print(Text("controls on the root file system", "bold"))
    print_host(console, offline.checks, verbose=verbose)
    console.print(Text(f"  {len(offline.at_boot)} more controls need a booted system", "dim"))
    for control in offline.at_boot if verbose else ():
        console.print(Text(f"    at boot: {control.id} {control.role}: {control.title}", "dim"))


def _print_booted(console: Console, booted: Booted, *, verbose: bool) -> None:
    console.print(Text("controls on the booted image", "bold"))
    print_host(console, booted.checks, verbose=verbose)
    for finding in booted.sockets:
        _print_finding(console, finding)
    for unit in booted.failed_units:
        console.print(Text(f"  ✗ the unit {unit} failed", "bold red"))
    for line in booted.ordering_cycles:
        console.print(Text(f"  ✗ {line}", "bold red"))
    if booted.taint:
        console.print(Text(f"  ✗ the kernel is tainted: {booted.taint}", "bold red"))


def _print_finding(console: Console, finding: Finding) -> None:
    console.print(
        Text.assemble("  ", ("✗", "bold red"), " ", (finding.rule, "bold"), f" {finding.path}: {finding.what}")
    )
    console.print(Text(f"      {finding.fix}", "dim"))
