"""A digest of what a site's roles are, so that two machines can tell whether they have the same."""

from __future__ import annotations

import hashlib

from hatfleet import __version__
from hatfleet.common.site import Site


def content_digest(site: Site) -> str:
    """Return one SHA-256 (hex) of hatfleet's version and of every file of every role on the content path."""
    digest = hashlib.sha256(__version__.encode())
    for role in site.names("roles"):
        folder = site.require("roles", role)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"\0{role}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
