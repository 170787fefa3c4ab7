"""Disks: where partitions lie, the partition tables byte by byte, and reading them back.

No partitioning tool and no loop device: a table is a few sectors whose layout is fixed by its specification, and
writing it ourselves makes every byte of it a function of the recipe.
"""

from hatfleet.image.disk.layout import (
    ALIGNMENT_BYTES,
    KINDS,
    MIB,
    NAMES,
    DiskIds,
    DiskLayout,
    Kind,
    Partition,
    Placed,
    TableType,
    place,
)
from hatfleet.image.disk.read import FoundTable, read_table
from hatfleet.image.disk.writer import write_disk

__all__ = [
    "ALIGNMENT_BYTES",
    "KINDS",
    "MIB",
    "NAMES",
    "DiskIds",
    "DiskLayout",
    "FoundTable",
    "Kind",
    "Partition",
    "Placed",
    "TableType",
    "place",
    "read_table",
    "write_disk",
]
