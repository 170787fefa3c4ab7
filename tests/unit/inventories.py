"""The fixture inventories, and a site whose roles they set."""

from __future__ import annotations

from pathlib import Path

from hatfleet.common.errors import InputError, InputErrors
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import Inventory, inventory_paths, load_inventory

FIXTURES = Path(__file__).parent / "fixtures"
INVENTORIES = FIXTURES / "inventories"
SITE = Site(FIXTURES / "site")
ROLES = ("door", "sensor")


def load(*names: str) -> Inventory:
    return load_inventory(inventory_paths(SITE, [str(INVENTORIES / name) for name in names]))


def shown(error: InputError) -> list[str]:
    """Render errors as a user reads them, one line each, with paths that are the same on every machine."""
    errors = error.errors if isinstance(error, InputErrors) else (error,)
    lines = [f"{part} | {part.hint}" if part.hint else str(part) for part in errors]
    return [line.replace(f"{INVENTORIES}/", "").replace(str(SITE.root), "SITE") for line in lines]
