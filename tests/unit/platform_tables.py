"""The tables of docs/how-to/platforms.md, from the code. ``python -m tests.unit.platform_tables`` writes them there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hatfleet.image.platforms import PLATFORMS, Platform
from hatfleet.image.platforms.options import PlatformOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "platforms.md"


def differences() -> str:
    """What differs between platforms, with the default options: a column each."""
    rows = {
        "machine": lambda p, _: p.title,
        "packages": lambda p, o: _code(p.packages_for(o)),
        "archives": lambda p, _: " and ".join(["Debian", *(archive.name for archive in p.archives)]),
        "components of Debian": lambda p, _: _code(p.debian_components),
        "kernel arguments": lambda p, o: _code(p.arguments_for(o)),
        "modules before `/`": lambda p, _: _code(p.initramfs_modules),
        "on the boot partition, from packages": lambda p, _: _code(["vmlinuz", *_files(p)]),
        "disk it boots from": lambda p, _: _code(p.boot_devices),
        "names the slot": lambda p, _: "`[boot_partition=N]`" if p.slot_filter else "device tree",
        "oldest boot loader": lambda p, _: _date(p.minimum_eeprom),
        "oldest boot loader, signed boot": lambda p, _: _date(p.minimum_eeprom_signed),
        "runs in the lab": lambda p, _: "yes" if p.lab else "no",
    }
    lines = [["", *(f"`{name}`" for name in PLATFORMS)], ["---"] * (len(PLATFORMS) + 1)]
    lines += [[title, *(row(p, p.options()) for p in PLATFORMS.values())] for title, row in rows.items()]
    return _table(lines)


def options() -> str:
    """What a recipe may choose, by platform."""
    lines = [["option", *(f"`{name}`" for name in PLATFORMS), "meaning"], ["---"] * (len(PLATFORMS) + 2)]
    names = {name: field for p in PLATFORMS.values() for name, field in p.options.model_fields.items()}
    for name, field in names.items():
        defaults = [_default(platform.options, name) for platform in PLATFORMS.values()]
        meaning = " ".join((field.description or "").split())
        lines.append([f"`{name}`", *defaults, meaning])
    return _table(lines)


def _default(model: type[PlatformOptions], name: str) -> str:
    if name not in model.model_fields:
        return "no"
    value = getattr(model(), name)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _files(platform: Platform) -> Iterable[str]:
    for source in platform.boot_sources:
        yield f"{source.target}/{source.pattern}" if source.target else source.pattern


def _code(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _date(day: object) -> str:
    return str(day) if day else "no"


def _table(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    text = PAGE.read_text()
    for name, table in (("differences", differences()), ("options", options())):
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text = re.sub(pattern, lambda found, table=table: f"{found[1]}{table}{found[2]}", text, flags=re.DOTALL)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
