"""A driver of a stand-in package, really compiled for the image's kernel; and the role that needs it, in a root."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hatfleet.common.errors import HatfleetError
from hatfleet.common.site import Site
from hatfleet.compliance.job import CheckJob
from hatfleet.compliance.runner import check_hosts, list_controls
from hatfleet.fleet.connectors.holder import Holder
from hatfleet.fleet.job import HostJob, Job, Mode, RoleRun
from hatfleet.fleet.results import HostState
from hatfleet.fleet.roles import Half, KernelDriver
from hatfleet.fleet.runner import run_job
from hatfleet.image import tree
from hatfleet.image.archives import FurtherArchive
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.initramfs import kernel_version
from hatfleet.image.modules import MODULES, TARGET, build_modules, built_for, install_drivers
from hatfleet.image.origin import origin
from hatfleet.image.packages import REPOSITORY, fetch, read_contents
from hatfleet.image.recipe import Recipe
from hatfleet.image.stages import Plan
from hatfleet.image.wanted import header_packages, toolchain_packages
from roles.accelerator import modules
from roles.accelerator.settings import Settings
from tests.conftest import ROOT
from tests.standin_archive import FIRMWARE_10H, StandInArchive, build_archive, driver, hailo10h, served

pytestmark = pytest.mark.image

SETTINGS = Settings(kind="hailo10h")
(DRIVER,) = modules(SETTINGS)
BROKEN = KernelDriver("broken-driver", "1.0.0", DRIVER.source, "broken", "1.0.0", ("broken",), DRIVER.template)

LIBRARY = ("h10-hailort", "python3-h10-hailort")


@dataclass(frozen=True)
class Workshop:
    """What drivers are compiled from, and where."""

    folder: Path
    bootstrap: Path
    toolchain: Path
    archive: StandInArchive
    epoch_s: int

    def build(self, name: str, *drivers: KernelDriver) -> Path:
        work = self.folder / name
        work.mkdir()
        build_modules(
            work,
            bootstrap=self.bootstrap,
            toolchain=self.toolchain,
            drivers=drivers,
            epoch_s=self.epoch_s,
            log=self.folder / f"{name}.log",
            progress=lambda _: None,
        )
        return work


@pytest.fixture(scope="module")
def workshop(planned: Plan, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("modules")
    broken = driver("broken-driver", "1.0.0", module="broken", device="0x0", firmware=(), rest="#error it is broken\n")
    archive = build_archive(folder / "archive", (*hailo10h(), broken))
    toolchain = folder / "toolchain"
    toolchain.mkdir()
    kernel = header_packages(read_contents(planned.folder("packages")))
    with served(archive) as uri:
        keyring, keys = str(archive.keyring), [archive.fingerprint]
        further = FurtherArchive(name="stand-in", uri=uri, keyring=keyring, fingerprints=keys)
        fetch(
            toolchain,
            suite=recipe.suite,
            arch=recipe.platform.arch,
            wanted=(*toolchain_packages((DRIVER, BROKEN)), *kernel),
            origin=origin(replace(recipe, archives=(further,)), recipe.platform, toolchain),
            log=folder / "toolchain.log",
            essential=False,
        )
    yield Workshop(folder, planned.folder("bootstrap"), toolchain, archive, recipe.suite.epoch_s)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def built(workshop: Workshop) -> Path:
    return workshop.build("first", DRIVER)


@pytest.fixture(scope="module")
def device(workshop: Workshop, built: Path) -> Path:
    """A root file system with the driver, the library and the bindings, to which the role was applied."""
    root, log = workshop.folder / "device", workshop.folder / "device.log"
    tree.unpack(workshop.bootstrap / ARCHIVE, root, log, without="./dev/*")
    install_drivers(root, toolchain=workshop.toolchain, built=built, drivers=(DRIVER,), log=log)
    for name in LIBRARY:
        shutil.copy(workshop.archive.folder / "pool" / f"{name}.deb", root / "root")
    with Holder(root) as holder:
        holder.check(["dpkg", "--install", *(f"/root/{name}.deb" for name in LIBRARY)])
    host = HostJob(name="npu", rootfs=root, roles=(role(),))
    report = run_job(Job(mode=Mode.APPLY, site=ROOT, halves=(Half.IMAGE,), hosts=(host,)), lambda _: None)
    assert report.hosts[0].state is HostState.CHANGED, report.hosts[0].error
    return root


def role() -> RoleRun:
    return RoleRun(name="accelerator", settings=SETTINGS.model_dump(mode="json"))


def outcomes(root: Path) -> dict[str, str]:
    site = Site.find(ROOT)
    listing = list_controls(site, ["accelerator"])
    job = CheckJob(name="npu", site=site.root, roles=(role(),), rootfs=root)
    report = check_hosts([job], listing)
    return {control.id: control.outcome.value for control in report.hosts[0].controls}


def test_the_module_is_for_the_images_kernel_and_can_be_found_by_the_chips_id(workshop: Workshop, built: Path) -> None:
    (module,) = (built / MODULES).iterdir()
    assert module.name == "hailo1x_pci.ko"
    fields = ("version", "alias", "parm", "vermagic")
    found = {
        field: subprocess.run(["modinfo", "-F", field, module], check=True, capture_output=True, text=True).stdout
        for field in fields
    }
    assert found["version"] == "5.1.1\n"
    assert "pci:v00001E60d000045C4" in found["alias"]
    assert "force_desc_page_size: (int)" in found["parm"]
    assert built_for(module.read_bytes()) == found["vermagic"].split()[0]
    assert str(workshop.folder).encode() not in module.read_bytes()
    sections = subprocess.run(["readelf", "-SW", module], check=True, capture_output=True, text=True).stdout
    assert ".debug_info" not in sections


def test_it_is_the_same_twice_and_what_does_not_compile_ends_with_the_compilers_words(
    workshop: Workshop, built: Path
) -> None:
    with pytest.raises(HatfleetError) as caught:
        workshop.build("second", DRIVER, BROKEN)
    assert re.match(r"the driver broken 1\.0\.0 does not compile for the kernel \d+\.\S+:\n", caught.value.message)
    assert "#error it is broken" in caught.value.message
    second = workshop.folder / "second" / MODULES / "hailo1x_pci.ko"
    assert second.read_bytes() == (built / MODULES / "hailo1x_pci.ko").read_bytes()


def test_the_image_has_module_and_firmware_and_nothing_that_compiles(workshop: Workshop, device: Path) -> None:
    modules_folder = device / "usr/lib/modules" / kernel_version(device)
    assert (modules_folder / TARGET / "hailo1x_pci.ko").is_file()
    assert f"{TARGET}/hailo1x_pci.ko:" in (modules_folder / "modules.dep").read_text()
    assert "hailo1x_pci" in (modules_folder / "modules.alias").read_text()
    assert all((device / path).is_file() for path in FIRMWARE_10H)
    assert list((device / "usr/src").iterdir()) == []
    for name in ("gcc*", "*-gcc*", "make", "dkms", "ld", "*-ld"):
        assert not list((device / "usr").glob(f"*bin/{name}")), name
    assert not (device / "var/lib/hatfleet-build").exists()
    # Its postinst ends with an error: that it is installed says that the script was not run.
    assert not (device / "var/lib/dpkg/info" / f"{DRIVER.package}.postinst").exists()


def test_the_roles_controls_hold_in_the_image(device: Path) -> None:
    found = outcomes(device)
    assert {"HF-ACC-010", "HF-ACC-011", "HF-ACC-012", "HF-ACC-014", "HF-ACC-015"} <= set(found)
    assert set(found.values()) == {"passed"}, found


@pytest.mark.parametrize(
    ("damage", "control"),
    [
        ("sed -i '/^Package: h10-hailort$/,/^$/s/^Version: .*/Version: 5.2.0/' var/lib/dpkg/status", "HF-ACC-011"),
        ("sed -i '/^Package: h10-hailort$/,/^$/s/^Status: hold/Status: install/' var/lib/dpkg/status", "HF-ACC-012"),
        (
            "printf 'Package: hailort\\nStatus: install ok installed\\nVersion: 4.23.0\\nArchitecture: arm64\\n"
            "Maintainer: t\\nDescription: t\\n\\n' >>var/lib/dpkg/status",
            "HF-ACC-013",
        ),
        ("rm usr/lib/firmware/hailo/hailo10h/image-fs", "HF-ACC-014"),
        (": >usr/lib/firmware/hailo/hailo10h/fitImage", "HF-ACC-014"),
        ("rm usr/lib/modules/*/updates/dkms/hailo1x_pci.ko", "HF-ACC-015"),
        ("mkdir usr/lib/modules/6.99.0", "HF-ACC-015"),
        ("sed -i 's/0660/0666/' usr/lib/udev/rules.d/90-hatfleet-accelerator.rules", "HF-ACC-001"),
    ],
)
def test_each_damage_is_found(device: Path, tmp_path: Path, damage: str, control: str) -> None:
    damaged = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", device, damaged], check=True)
    try:
        subprocess.run(["/bin/sh", "-ec", damage], cwd=damaged, check=True)
        assert [key for key, value in outcomes(damaged).items() if value != "passed"] == [control]
    finally:
        shutil.rmtree(damaged)


def test_the_drivers_package_is_known_where_it_was_fetched(workshop: Workshop) -> None:
    names = {path.name.partition("_")[0] for path in (workshop.toolchain / REPOSITORY).glob("*.deb")}
    assert {DRIVER.package, "dkms", "make"} <= names
