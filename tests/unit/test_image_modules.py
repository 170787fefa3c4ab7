"""Drivers that are compiled for an image's kernel: when, from what, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.site import Site
from hatfleet.fleet.roles import KernelDriver
from hatfleet.image import build
from hatfleet.image.lock import Lock, LockedPackage
from hatfleet.image.machine import host_arch
from hatfleet.image.modules import built_for, package_file, require_buildable, unsigned
from hatfleet.image.packages import REPOSITORY, Package
from hatfleet.image.recipe import Recipe, load_recipe
from hatfleet.image.stages import plan
from hatfleet.image.wanted import header_packages, toolchain_packages, wanted_drivers, wanted_packages

DRIVER = KernelDriver("chip-driver", "1.2-3", "usr/src/chip", "chip", "1.2", ("chip",))

ROLE = """
from hatfleet.fleet.roles import KernelDriver

def packages(settings):
    return ["chip-library=1.2-1"]

def modules(settings):
    return [KernelDriver("chip-driver", "1.2-3", "usr/src/chip", "chip", "1.2", ("chip",))]

def refused(settings):
    return {"other-library": "it is for another chip"}
"""

RECIPE = 'name: tiny\nversion: "1"\nplatform: virt\nsuite: trixie\nroles: [chip]\nsettings: {chip: {root: /a}}\n'


@pytest.fixture
def site(make_role: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = make_role("chip", ROLE)
    (folder / "images").mkdir()
    return Site(folder)


def recipe(site: Site, more: str = "") -> Recipe:
    file = site.root / "images" / "tiny.yaml"
    file.write_text(RECIPE + more)
    return load_recipe(site, file)


def locked(name: str, version: str) -> LockedPackage:
    return LockedPackage(name=name, version=version, arch="arm64", sha256="0" * 64, size_bytes=1)


def test_a_driver_adds_two_stages_and_its_package_is_not_among_the_images_own(site: Site) -> None:
    stages = {stage.name: stage for stage in plan(recipe(site), site, build.store(), None).stages}
    order = list(stages)
    assert order[order.index("bootstrap") + 1 : order.index("initramfs")] == ["toolchain", "modules"]
    assert "chip-library=1.2-1" in stages["packages"].inputs["packages"].split()
    assert "chip-driver" not in stages["packages"].inputs["packages"]
    assert stages["toolchain"].inputs["packages"] == "chip-driver=1.2-3 dkms"
    assert {"stage toolchain", "stage modules", "drivers"} <= set(stages["provision"].inputs)


def test_without_a_driver_there_is_no_compiler(site: Site) -> None:
    without = replace(recipe(site), roles=())
    names = [stage.name for stage in plan(without, site, build.store(), None).stages]
    assert "toolchain" not in names
    assert "modules" not in names
    assert toolchain_packages(()) == ()


def test_a_package_that_a_role_refuses_ends_the_plan_with_the_reason_and_the_line(site: Site) -> None:
    with pytest.raises(InputError, match="the role chip refuses the package other-library: it is for") as caught:
        plan(recipe(site, "packages: [other-library]\n"), site, build.store(), None)
    assert caught.value.where and caught.value.where.line == 7


def test_a_lock_must_name_the_toolchain(site: Site) -> None:
    wanted = wanted_packages(recipe(site), site)
    compiling = toolchain_packages(wanted_drivers(recipe(site), site))
    assert compiling == ("chip-driver=1.2-3", "dkms")
    whole = Lock(
        suite="trixie",
        arch="arm64",
        wanted=(*wanted, *compiling),
        packages=(locked("nano", "8.4-1"),),
        toolchain=(locked("dkms", "3.2.1-1"), locked("chip-driver", "1.2-3")),
        tools_arch=host_arch(),
        tools=(locked("zstd", "1.5"),),
    )
    stages = {stage.name: stage for stage in plan(recipe(site), site, build.store(), whole).stages}
    assert stages["toolchain"].inputs["packages"] == "dkms=3.2.1-1 chip-driver=1.2-3"
    assert stages["packages"].inputs["packages"] == "nano=8.4-1"
    with pytest.raises(InputError, match=r"other packages than its lock: \+chip-driver=1\.2-3 \+dkms"):
        plan(recipe(site), site, build.store(), whole.model_copy(update={"wanted": wanted}))


def test_the_headers_are_those_of_the_kernel_that_was_fetched() -> None:
    names = ("linux-image-rpi-2712", "linux-image-6.18.34+rpt-rpi-2712", "linux-base", "gcc-14")
    contents = [Package(name, "1", "arm64", "0" * 64, 1) for name in names]
    assert header_packages(contents) == ("linux-headers-6.18.34+rpt-rpi-2712",)


@pytest.mark.parametrize(
    ("kernel", "fits"),
    [("6.12.75+rpt-rpi-2712", True), ("6.15.0-cloud-arm64", False), ("6.18.34+rpt-rpi-2712", False), ("7.0", False)],
)
def test_a_kernel_that_a_driver_does_not_build_for_is_refused_before_compiling(kernel: str, fits: object) -> None:
    limited = KernelDriver(
        "p", "5.3.0", "s", "chip", "5.3.0", ("chip",), kernel_limit=(6, 15), limit_reason="it calls what is gone"
    )
    require_buildable(DRIVER, kernel)
    if fits:
        require_buildable(limited, kernel)
    else:
        with pytest.raises(InputError, match=r"chip 5\.3\.0 does not build for the kernel .*: it calls what is gone"):
            require_buildable(limited, kernel)


def test_a_signature_is_cut_off_and_nothing_else() -> None:
    module = b"\x7fELF" + bytes(range(256))
    signature = b"s" * 400
    # Linux, struct module_signature: six bytes, two of padding, the length as four bytes.
    signed = module + signature + bytes(8) + len(signature).to_bytes(4, "big") + b"~Module signature appended~\n"
    assert unsigned(signed) == module
    assert unsigned(module) == module


def test_a_module_says_what_kernel_it_is_for() -> None:
    info = b"\x7fELF\0license=GPL\0vermagic=6.12.75+rpt-rpi-2712 SMP preempt mod_unload aarch64\0"
    assert built_for(info) == "6.12.75+rpt-rpi-2712"
    assert built_for(b"\x7fELF\0license=GPL\0") is None


def test_the_package_of_a_driver_must_have_been_fetched(tmp_path: Path) -> None:
    (tmp_path / REPOSITORY).mkdir()
    with pytest.raises(HatfleetError, match="the package chip-driver of a driver was not fetched"):
        package_file(tmp_path, DRIVER)
    file = tmp_path / REPOSITORY / "chip-driver_1.2-3_all.deb"
    file.touch()
    (tmp_path / REPOSITORY / "chip-driver-tools_1.2-3_all.deb").touch()
    assert package_file(tmp_path, DRIVER) == file
