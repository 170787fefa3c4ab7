"""What a recipe asks for, its platform's and its roles' wishes included: packages, drivers, Python environments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hatfleet.common.errors import InputError
from hatfleet.common.site import Site
from hatfleet.fleet.roles import KernelDriver, RoleCode, load_role_code
from hatfleet.image.bootstrap import package_list
from hatfleet.image.packages import Package
from hatfleet.image.recipe import Recipe
from hatfleet.runtimes.environment import Environment

#: What compiles drivers, beside the headers of the kernel: DKMS, which brings a compiler.
BUILD_PACKAGES = ("dkms",)

_IMAGE, _HEADERS = "linux-image-", "linux-headers-"


def wanted_packages(recipe: Recipe, site: Site) -> tuple[str, ...]:
    """Return the packages that recipe, platform and roles name, sorted; ``name=version`` for an exact version.

    Raises:
        InputError: one of them is a package that a role refuses.
    """
    names: set[str] = set()
    for code, settings in _roles(recipe, site):
        if code.packages:
            names.update(code.packages(settings))
    wanted = package_list(recipe.platform.packages_for(recipe.options), recipe.packages, names)
    _refuse(recipe, site, wanted)
    return wanted


def wanted_drivers(recipe: Recipe, site: Site) -> tuple[KernelDriver, ...]:
    """Return the drivers that roles want to have compiled for the image's kernel."""
    return tuple(driver for code, settings in _roles(recipe, site) if code.modules for driver in code.modules(settings))


def wanted_environments(recipe: Recipe, site: Site) -> tuple[Environment, ...]:
    """Return the Python environments that roles lay down, in the order of the roles.

    Raises:
        InputError: the lock of one is missing, or older than what it is for.
    """
    roles = _roles(recipe, site)
    return tuple(one for code, settings in roles if code.environments for one in code.environments(settings))


def toolchain_packages(drivers: Sequence[KernelDriver]) -> tuple[str, ...]:
    """Return what a lock must know of how drivers are compiled; nothing without drivers."""
    return tuple(sorted((*BUILD_PACKAGES, *(driver.exact for driver in drivers)))) if drivers else ()


def header_packages(contents: Sequence[Package]) -> tuple[str, ...]:
    """Return the packages with the headers of exactly the kernels among some packages."""
    kernels = {package.name for package in contents if package.name.startswith(_IMAGE)}
    # A package without a number in its name only leads to the newest kernel.
    exact = sorted(name for name in kernels if name.removeprefix(_IMAGE)[:1].isdigit())
    return tuple(name.replace(_IMAGE, _HEADERS, 1) for name in exact)


def _roles(recipe: Recipe, site: Site) -> Iterator[tuple[RoleCode, Any]]:
    for role in recipe.roles:
        code = load_role_code(site, role.name)
        yield code, code.info.settings.model_validate(role.settings)


def _refuse(recipe: Recipe, site: Site, wanted: Sequence[str]) -> None:
    named = {name.partition("=")[0] for name in wanted}
    for code, settings in _roles(recipe, site):
        for name, reason in code.refused(settings).items() if code.refused else ():
            if name in named:
                raise InputError(
                    f"the role {code.info.name} refuses the package {name}: {reason}",
                    where=recipe.where("packages"),
                    hint=f"take {name} out of the packages, or change the settings of {code.info.name}",
                )
