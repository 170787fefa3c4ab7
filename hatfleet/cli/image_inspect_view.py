"""How an image, and the difference between two, look."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hatfleet.image.inspect.diff import Change, Difference, FileChange
from hatfleet.image.inspect.report import ImageReport, PartitionReport

_MIB = 1024 * 1024

_ADDED, _REMOVED, _CHANGED = ("+", "green"), ("-", "red"), ("~", "yellow")


def print_report(report: ImageReport, *, packages: bool) -> None:
    """Print what is in an image."""
    console = _console()
    kind = " ".join(part for part in (report.platform, report.arch, report.suite) if part)
    named = f"{report.name} {report.version}".strip() or "an image without a manifest"
    size = f"{report.size_bytes // _MIB} MiB, {report.allocated_bytes // _MIB} MiB of them not holes"
    _print_fields(
        console,
        {
            "image": f"{named}  {kind}".rstrip(),
            "file": f"{report.image} ({size})",
            "table": f"{report.table.value} {report.ptuuid}",
            "kernel": report.kernel,
            "root hash": report.root_hash,
            **{f"slot {slot}": line for slot, line in report.command_lines.items()},
            "roles": ", ".join(report.roles),
            "packages": str(len(report.packages)) if report.packages else "",
        },
    )
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
    console.print()
    console.print(_partition_table(report))
    for partition in report.partitions:
        _print_boot_files(console, partition)
    if report.artefacts:
        console.print("\nartefacts")
        for name, artefact in report.artefacts.items():
            console.print(Text(f"  {_mib(artefact.size_bytes):>9}  {artefact.sha256[:12]}  {name}"))
    if packages and report.packages:
        console.print("\npackages")
        for package in report.packages:
            console.print(Text(f"  {package.name} {package.version} {package.arch}".rstrip()))


def print_difference(difference: Difference, *, text: bool) -> None:
    """Print what differs between two images."""
    console = _console()
    if difference.same:
        console.print("the images are the same")
        return
    _print_changes(console, "image", difference.facts)
    _print_changes(console, "partitions", difference.partitions)
    if difference.contents:
        console.print(Text("partitions with other content", "bold"))
        console.print(Text(f"  {', '.join(change.name for change in difference.contents)}"))
    _print_changes(console, "roles", difference.roles)
    _print_changes(console, "packages", difference.packages)
    _print_files(console, "files of the boot partition", difference.boot_files, text=text)
    _print_files(console, "files of the system partition", difference.files, text=text)
    if system := difference.system:
        figures = f"{system.share:.1%}, {_mib(system.new * 4096)} of {_mib(system.blocks * 4096)}"
        console.print(
            Text(f"an update carries {system.new} of {system.blocks} blocks of the system partition ({figures})")
        )


def _print_fields(console: Console, fields: dict[str, str]) -> None:
    for name, value in fields.items():
        if value:
            console.print(Text.assemble((f"{name:10}", "dim"), value))


def _partition_table(report: ImageReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("nr", "start MiB", "size MiB", "used MiB"):
        table.add_column(heading, justify="right")
    for heading in ("name", "content", "PARTUUID"):
        table.add_column(heading, no_wrap=True)
    for partition in report.partitions:
        placed, content = partition.placed, partition.content
        used = "" if content.used_bytes is None else f"{content.used_bytes / _MIB:.1f}"
        sizes = (str(placed.number), str(placed.start_bytes // _MIB), str(placed.size_bytes // _MIB), used)
        made = ", the device makes it" if placed.name == "data" and report.data_unmade else ""
        table.add_row(*sizes, Text(placed.name or "-"), f"{content.type}{made}", placed.partuuid)
    return table


def _print_boot_files(console: Console, partition: PartitionReport) -> None:
    if not partition.content.files:
        return
    console.print(Text(f"\nfiles of {partition.placed.name or f'partition {partition.placed.number}'}"))
    for file in partition.content.files:
        console.print(Text(f"  {_mib(file.size):>9}  {file.path}"))


def _print_changes(console: Console, title: str, changes: Sequence[Change]) -> None:
    if not changes:
        return
    console.print(Text(title, "bold"))
    for change in changes:
        if change.before is None:
            mark, values = _ADDED, change.after or ""
        elif change.after is None:
            mark, values = _REMOVED, change.before
        else:
            mark, values = _CHANGED, f"{change.before or 'none'} -> {change.after or 'none'}"
        console.print(Text.assemble("  ", mark, f" {change.name}  {values}"))


def _print_files(console: Console, title: str, changes: Sequence[FileChange], *, text: bool) -> None:
    if not changes:
        return
    console.print(Text(f"{title}: {len(changes)}", "bold"))
    for change in changes:
        mark = {"added": _ADDED, "removed": _REMOVED}.get(change.what[0], _CHANGED)
        what = f"  {', '.join(change.what)}" if mark is _CHANGED else ""
        console.print(Text.assemble("  ", mark, f" {change.path}{what}"))
        if text and change.text:
            for line in change.text.splitlines():
                console.print(Text(f"      {line}"))


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
