"""What a host's card carries beside the image: who the device is, its network, and a token for its first contact.

The token proves one thing: that the device's card was flashed by somebody who may enrol this host. It is on the card in
plain, so whoever holds the card has it; it is good for one enrolment and a few days. The site keeps its digest, from
which the token cannot be found (it has 256 random bits), so the record is no secret.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hatfleet.common.errors import InputError, nearest
from hatfleet.common.files import write_atomic
from hatfleet.common.site import Site
from hatfleet.fleet.inventory.load import Inventory
from hatfleet.fleet.network import network_of
from hatfleet.fleet.resolve import resolve_hosts

#: Name of the seed in the partition bootcfg.
SEED_FILE = "hatfleet-seed.json"

#: The folder of the site with a record for every host that was given a token.
ENROLMENT = "enrolment"

SCHEMA = 1

DEFAULT_TOKEN_DAYS = 14

#: Randomness of a token, bytes: nothing to guess, and nothing to find from its digest.
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Seed:
    """A host's seed, and what the site remembers of it."""

    host: str
    content: bytes
    """The file on the card."""
    record: bytes
    """The file in the site."""
    record_file: Path

    def remember(self) -> None:
        """Write the record; a token that the host was given before is not valid any more."""
        write_atomic(self.record_file, self.record)


def make_seed(
    site: Site, inventory: Inventory, host: str, image: tuple[str, str], token_days: int = DEFAULT_TOKEN_DAYS
) -> Seed:
    """Make the seed of a host, with a new token.

    Args:
        site: Where the record will be written.
        inventory: Where the host is declared.
        host: Its name there.
        image: Name and version of the image.
        token_days: How long the token can be used.

    Raises:
        InputError: there is no such host, or its settings are wrong.
    """
    if host not in inventory.hosts:
        close = nearest(host, inventory.hosts)
        hint = f"did you mean {close!r}?" if close else "provision inventory lists the hosts"
        raise InputError(f"there is no host {host!r} in the inventory", hint=hint)
    (job,) = resolve_hosts(site, inventory, [host], ["base"])
    network = network_of(inventory, host)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    now = datetime.now(UTC).replace(microsecond=0)
    expires = (now + timedelta(days=token_days)).isoformat()
    built = {"name": image[0], "version": image[1]}
    content = {
        "schema": SCHEMA,
        "host": host,
        "name": job.roles[0].settings["hostname"] or host,
        "network": {name: interface.model_dump(mode="json") for name, interface in sorted(network.items())},
        "image": built,
        "enrolment": {"token": token, "expires": expires},
    }
    record = {
        "schema": SCHEMA,
        "host": host,
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        "issued": now.isoformat(),
        "expires": expires,
        "image": built,
    }
    return Seed(host, _text(content), _text(record), site.root / ENROLMENT / f"{host}.json")


def _text(value: object) -> bytes:
    return f"{json.dumps(value, indent=2)}\n".encode()
