"""A check of the roles' own checks, for ``provision test``."""

from __future__ import annotations

from hatfleet.common.site import Site
from hatfleet.compliance.runner import list_controls
from hatfleet.fleet.sitetest.model import Finding, Result


def check_controls(site: Site) -> Result:
    """Check that every role's checks.py loads and that every control in it is declared; warn of roles without one.

    Raises:
        InputErrors: what does not load, or a control without an id or with one that is taken.
    """
    listing = list_controls(site, site.names("roles"))
    findings = tuple(
        Finding(
            f"role {role} has no checks.py: nothing of it is proven",
            "see docs/how-to/checks.md",
            warning=True,
        )
        for role in listing.unchecked_roles
    )
    return Result(len(listing.controls), "controls", findings)
