"""A repository file for Raspberry Pi Imager (``rpi-imager --repo FILE``), so that it can flash the image.

Fields as in rpi-imager's doc/json-schema/os-list-schema.json. ``image_download_sha256`` is not in that schema's list;
the files that Raspberry Pi publishes have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote

from hatfleet.image.release.manifest import Artefact

#: Comes with Imager.
ICON = "icons/use_custom.png"


@dataclass(frozen=True)
class Offer:
    """What Imager shows of an image, and where it finds it."""

    name: str
    description: str
    released: date
    devices: Sequence[str]
    """Imager's tags of the machines it is for, such as "pi5-64bit"; empty for one that Imager does not know."""
    base_url: str = ""
    """What comes before the names of the files; Imager wants a URL (https://…/, file:///…/)."""
    icon: str = ICON


def os_list(offer: Offer, *, image: Artefact, compressed: tuple[str, Artefact], block_map: str | None) -> str:
    """Return the repository file.

    Args:
        offer: What it says.
        image: Size and digest of the uncompressed image: what Imager compares with what it has written.
        compressed: Name, and size and digest, of the file to download.
        block_map: Name of the block map of the image, if there is one.
    """
    file, download = compressed
    entry = {
        "name": offer.name,
        "description": offer.description,
        "icon": offer.icon,
        "url": _url(offer.base_url, file),
        "extract_size": image.size_bytes,
        "extract_sha256": image.sha256,
        "image_download_size": download.size_bytes,
        "image_download_sha256": download.sha256,
        "release_date": offer.released.isoformat(),
        "devices": list(offer.devices),
        # Devices get their settings from their seed and from "provision apply", not from Imager.
        "init_format": "none",
        "architecture": "armv8",
    }
    if block_map:
        entry["bmap_url"] = _url(offer.base_url, block_map)
    return json.dumps({"os_list": [entry]}, indent=2) + "\n"


def _url(base: str, file: str) -> str:
    return base + ("/" if base and not base.endswith("/") else "") + quote(file)
