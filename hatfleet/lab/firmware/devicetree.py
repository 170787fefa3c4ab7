"""The device tree: QEMU's own for exactly this machine, with what a board's bootloader adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hatfleet.common.run import require_tool, run

NODE = "/chosen/bootloader"


def write_device_tree(
    qemu: Sequence[str], machine: str, options: Sequence[str], target: Path, values: Mapping[str, int]
) -> None:
    """Write the device tree that a machine is started with; its random seeds are new in each.

    Args:
        qemu: The words that start QEMU.
        machine: The value of its ``-machine``.
        options: The other options that the tree depends on: processor, their number, memory.
        target: The file to write (DTB).
        values: 32-bit numbers for ``/chosen/bootloader``.

    Raises:
        CommandError: QEMU or fdtput failed.
        MissingToolError: fdtput is not installed.
    """
    fdtput = require_tool("fdtput", "device-tree-compiler")
    fresh = target.with_name(f".{target.name}.new")
    # The name is relative: a path with a comma would end the option. Without -nodefaults it looks for sound modules.
    words = ["-nodefaults", "-machine", f"{machine},dumpdtb={fresh.name}", *options, "-display", "none"]
    run([*qemu, *words], cwd=target.parent)
    run([fdtput, "-c", fresh, NODE])
    for name, value in values.items():
        run([fdtput, "-t", "x", fresh, NODE, name, f"{value:x}"])
    fresh.replace(target)
