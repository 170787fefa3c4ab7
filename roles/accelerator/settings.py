"""Settings of the role accelerator, and the software that each kind of accelerator is locked to."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hatfleet.fleet.settings import RoleSettings
from hatfleet.fleet.settings import Settings as Group


@dataclass(frozen=True)
class Part:
    """A package of a stack, and the version that it is locked to."""

    package: str
    version: str
    """Debian's version."""


@dataclass(frozen=True)
class Unfit:
    """A version of a driver that is known not to build from some kernel on."""

    driver: str
    kernel: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Stack:
    """All that belongs to one kind of Hailo accelerator. The driver's package brings the firmware as well."""

    parts: dict[str, Part]
    """Driver, library and bindings, by these names."""
    major: int
    """First number of every version of this family."""
    module: str
    """The kernel module."""
    firmware: tuple[str, ...]
    """What the driver asks for below /lib/firmware, as shell patterns."""
    options: dict[str, int | bool]
    """Module parameters that a Raspberry Pi 5 needs."""
    unfit: tuple[Unfit, ...] = ()


#: Where the driver's package has its source, from the root (file listings of Raspberry Pi OS in public notes).
DRIVER_SOURCE = "usr/src/hailort-pcie-driver"

#: What becomes dkms.conf, and what in it stands for the version (hailort-drivers, linux/pcie/Makefile).
DRIVER_TEMPLATE = ("linux/pcie/dkms.conf.in", "@PCIE_DRIVER_VERSION@")

#: The locked versions: those that Raspberry Pi's archive has had together (Trixie, until September 2026).
STACKS = {
    "hailo10h": Stack(
        parts={
            "driver": Part("h10-hailort-pcie-driver", "5.1.1"),
            "library": Part("h10-hailort", "5.1.1"),
            "bindings": Part("python3-h10-hailort", "5.1.1-1"),
        },
        major=5,
        module="hailo1x_pci",
        # hailort-drivers v5.1.1, common/pcie_common.c; the device tree's name has the board's SKU in it.
        firmware=(
            "hailo/hailo10h/customer_certificate.bin",
            "hailo/hailo10h/fitImage",
            "hailo/hailo10h/image-fs",
            "hailo/hailo10h/scu_fw.bin",
            "hailo/hailo10h/u-boot-*.dtb.signed",
            "hailo/hailo10h/u-boot-spl.bin",
            "hailo/hailo10h/u-boot-tfa.itb",
        ),
        # The driver takes pages of 4 KiB by itself, also on a kernel with larger ones (pcie.c of v5.1.1).
        options={},
        # hailort-drivers v5.3.0, linux/vdma/monitor.c.
        unfit=(Unfit("5.3.0", (6, 15), "it calls del_timer_sync(), which Linux 6.15 has removed"),),
    ),
    "hailo8": Stack(
        parts={
            "driver": Part("hailort-pcie-driver", "4.23.0"),
            "library": Part("hailort", "4.23.0"),
            "bindings": Part("python3-hailort", "4.23.0-1"),
        },
        major=4,
        module="hailo_pci",
        # hailort-drivers, branch hailo8, common/pcie_common.c.
        firmware=("hailo/hailo8_fw.bin",),
        # Without it the driver takes the kernel's pages of 16 KiB, which the chip does not (max_desc_page_size).
        options={"force_desc_page_size": 4096},
    ),
}

#: All packages of a family, its metapackages first: a metapackage lets apt choose versions, and two families can not be
#: installed together.
FAMILIES = {
    "hailo10h": ("hailo-h10-all", *(part.package for part in STACKS["hailo10h"].parts.values())),
    "hailo8": ("hailo-all", "hailo-dkms", "hailofw", *(part.package for part in STACKS["hailo8"].parts.values())),
}
METAPACKAGES = ("hailo-all", "hailo-h10-all")

#: The library of the Edge TPU, from an archive of Google's (or the site's own): one package, no kernel driver on USB.
CORAL_LIBRARY = "libedgetpu1-std"

Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+(-[A-Za-z0-9.+~]+)?$")]


def upstream(version: str) -> str:
    """Return the maker's version from Debian's: without the part after the hyphen."""
    return version.partition("-")[0]


class Versions(Group):
    """Debian versions in place of the locked ones. The maker's version in them must be the same three times."""

    driver: Version | None = None
    """Kernel driver and firmware, which are one package."""
    library: Version | None = None
    """HailoRT: the library and hailortcli."""
    bindings: Version | None = None
    """The Python bindings, hailo_platform."""


class DriverOptions(Group):
    """Parameters of the Hailo kernel module; what is not set is the driver's own choice."""

    o_dbg: Annotated[int, Field(ge=0, le=7)] | None = None
    """How much the driver tells the kernel's log, as a level of it."""
    no_power_mode: bool | None = None
    """Keep the chip out of its power saving state (D3)."""
    force_desc_page_size: Literal[64, 128, 256, 512, 1024, 2048, 4096] | None = None
    """Size of the pages of DMA descriptors, bytes. A Hailo-8 gets 4096 where this is not set."""
    force_hailo10h_legacy_mode: bool | None = None
    """Boot a Hailo-10H as its first drivers did."""
    support_soft_reset: bool | None = None
    """Reset the chip when the driver is loaded and it runs already."""
    force_hailo_pcie_boot_mode_over_bars: bool | None = None
    """Load the last stage of the firmware without DMA; drivers 5.2.0 and later."""

    def given(self) -> dict[str, int | bool]:
        """Return the parameters that are set."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class Settings(RoleSettings):
    """The accelerator for models: its driver, firmware and libraries, and who may use it."""

    kind: Literal["hailo10h", "hailo8", "coral", "none", "detect"] = "detect"
    """What the device has: an AI HAT+ 2 (hailo10h), an AI HAT+ or AI Kit (hailo8), a Coral Edge TPU, or none. With
    detect, what a running device has on PCI and USB; in an image, where nothing can be found, none."""
    versions: Versions = Versions()
    """Versions of a Hailo stack in place of the locked ones."""
    driver_options: DriverOptions = DriverOptions()
    """Parameters of the Hailo kernel module."""
    link_speed_gts: Annotated[float, Field(ge=2.5, le=64)] | None = None
    """PCIe speed that the chip must have, GT/s; the kind's own when not set: 8.0 for Hailo, 5.0 for Coral."""
    link_width: Annotated[int, Field(ge=1, le=16)] = 1
    """PCIe lanes that the chip must have; a Raspberry Pi 5 has one."""
    probe_attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """How often a chip that does not answer is asked again: its first firmware takes a while to load."""
    max_reboots_per_day: Annotated[int, Field(ge=0, le=24)] = 2
    """How often a day the device may restart itself to get a wedged chip back; 0: never."""

    def kind_on(self, status: str) -> str:
        """Return the kind that a device is meant to have; where it was to be found out, what was found then.

        Args:
            status: Content of the device's /etc/hatserve/accelerator.json.
        """
        if self.kind != "detect":
            return self.kind
        try:
            return str(json.loads(status)["kind"])
        except (ValueError, KeyError, TypeError):
            return "none"

    def stack_of(self, kind: str) -> Stack | None:
        """Return what belongs to a kind; None for a kind without a driver and firmware of Hailo's."""
        return STACKS.get(kind)

    def foreign_to(self, kind: str) -> tuple[str, ...]:
        """Return the packages of every family but the kind's own."""
        return tuple(name for family, names in FAMILIES.items() if family != kind for name in names)

    def packages_of(self, kind: str) -> tuple[str, ...]:
        """Return the packages of a kind, ``name=version`` where the version is locked, in the order of installing."""
        if kind in STACKS:
            parts = STACKS[kind].parts
            return tuple(f"{part.package}={self._version(kind, name)}" for name, part in parts.items())
        return (CORAL_LIBRARY,) if kind == "coral" else ()

    def driver_release(self, kind: str) -> str:
        """Return the maker's version of a Hailo kind's driver."""
        return upstream(self._version(kind, "driver"))

    def options_of(self, kind: str) -> dict[str, int | bool]:
        """Return the module parameters of a kind."""
        return {**STACKS[kind].options, **self.driver_options.given()} if kind in STACKS else {}

    def unfit(self, kind: str) -> tuple[Unfit, ...]:
        """Return the kernels that a kind's driver is known not to build for."""
        if kind not in STACKS:
            return ()
        return tuple(one for one in STACKS[kind].unfit if one.driver == self.driver_release(kind))

    def _version(self, kind: str, name: str) -> str:
        return getattr(self.versions, name) or STACKS[kind].parts[name].version

    @model_validator(mode="after")
    def _one_stack(self) -> Settings:
        if self.kind not in STACKS:
            if self.versions != Versions():
                raise ValueError(f"versions are those of a Hailo stack; with kind {self.kind} there is none")
            return self
        found = {name: upstream(self._version(self.kind, name)) for name in STACKS[self.kind].parts}
        if odd := _odd(found):
            raise ValueError(
                f"versions that differ do not work together, and HailoRT refuses them: {odd} "
                f"(all: {', '.join(f'{name} {version}' for name, version in found.items())})"
            )
        version, major = found["driver"], STACKS[self.kind].major
        if _numbers(version)[0] != major:
            raise ValueError(f"{version} is of another family: versions for {self.kind} are {major}.x")
        if self.driver_options.force_hailo_pcie_boot_mode_over_bars is not None and _numbers(version) < (5, 2, 0):
            raise ValueError(
                f"driver_options.force_hailo_pcie_boot_mode_over_bars needs a driver of 5.2.0 or later, not {version}"
            )
        return self


def _odd(versions: dict[str, str]) -> str:
    """Name the versions that are not the one that most have; all when none has a majority."""
    (common, count), *others = Counter(versions.values()).most_common()
    if not others:
        return ""
    return ", ".join(f"{name} is {version}" for name, version in versions.items() if count == 1 or version != common)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
