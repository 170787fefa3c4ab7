"""A check of the recipes of a site, for ``provision test``."""

from __future__ import annotations

from hatfleet.common.site import Site
from hatfleet.fleet.sitetest.model import Result, each
from hatfleet.image.recipe import SUFFIX, find_recipe, load_recipe


def check_recipes(site: Site) -> Result:
    """Check that every recipe is valid and that its roles get the settings they need."""
    return each("recipes", site.names("images", SUFFIX), lambda name: load_recipe(site, find_recipe(site, name)))
