"""What the role accelerator guarantees of installed software: one family, one version, held, and a module that fits."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hatfleet.compliance import agree, control, none_of, not_applicable

if TYPE_CHECKING:
    from roles.accelerator.settings import Settings, Stack

Host = Any

STATUS = "/etc/hatserve/accelerator.json"
HAILORT = "HailoRT User Guide"
ETSI = "ETSI EN 303 645"


def declared(host: Host, settings: Settings) -> str:
    """Return the kind that this device is meant to have; where it was to be found out, what the role found."""
    return settings.kind_on(host.run(f"cat {STATUS}").stdout)


def stack(host: Host, settings: Settings) -> tuple[str, Stack]:
    """Return the kind and its stack; a device without a Hailo chip has none."""
    kind = declared(host, settings)
    known = settings.stack_of(kind)
    if known is None:
        not_applicable(f"no driver, firmware and library of Hailo's belong to the kind {kind}")
    return kind, known


def installed(host: Host, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Return version and selection ("hold", "install") of those of the packages that are installed."""
    form = "${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\\n"
    lines = (line.split() for line in host.run(f"dpkg-query -W -f '{form}' {' '.join(names)}").stdout.splitlines())
    return {line[0]: (line[1], line[2]) for line in lines if len(line) == 4 and line[3] == "installed"}


@control("HF-ACC-011", "Driver, firmware, library and bindings have the locked version, all the same", refs=[HAILORT])
def test_versions(host: Host, settings: Settings) -> None:
    kind, _ = stack(host, settings)
    wanted = dict(name.split("=", 1) for name in settings.packages_of(kind))
    found = {name: version for name, (version, _) in installed(host, tuple(wanted)).items()}
    agree(found, wanted, "packages of the accelerator")


@control("HF-ACC-012", "The packages of the accelerator are held at their versions", refs=["apt-mark(8)"])
def test_held(host: Host, settings: Settings) -> None:
    kind = declared(host, settings)
    names = tuple(name.partition("=")[0] for name in settings.packages_of(kind))
    if not names:
        not_applicable("this device is declared to have no accelerator")
    found = installed(host, names)
    agree({name: want for name, (_, want) in found.items()}, dict.fromkeys(names, "hold"), "selections of packages")


@control("HF-ACC-013", "No package of another accelerator is installed", refs=["Raspberry Pi documentation, AI"])
def test_one_family(host: Host, settings: Settings) -> None:
    found = installed(host, settings.foreign_to(declared(host, settings)))
    none_of((f"{name} {version}" for name, (version, _) in found.items()), "packages that do not belong here")


@control("HF-ACC-014", "The firmware that the driver asks for is there", refs=["hailort-drivers, pcie_common.c"])
def test_firmware(host: Host, settings: Settings) -> None:
    _, known = stack(host, settings)
    there = host.run("find /usr/lib/firmware/hailo /lib/firmware/hailo -type f -size +0 2>/dev/null").stdout.split()
    missing = [pattern for pattern in known.firmware if not any(_is_firmware(path, pattern) for path in there)]
    none_of(missing, "files of firmware that are missing or empty in /lib/firmware")


def _is_firmware(path: str, pattern: str) -> bool:
    return fnmatchcase(path.partition("/lib/firmware/")[2], pattern)


@control("HF-ACC-015", "Every kernel has the module, of the driver's version and made for that kernel", refs=["DKMS"])
def test_module(host: Host, settings: Settings) -> None:
    kind, known = stack(host, settings)
    kernels = host.check_output("ls /usr/lib/modules").split()
    form = f"modinfo -k {{kernel}} -F {{field}} {known.module}"
    for kernel in kernels:
        version, magic = (
            host.run(form.format(kernel=kernel, field=field)).stdout.strip() for field in ("version", "vermagic")
        )
        assert magic, f"the kernel {kernel} has no module {known.module}"
        assert magic.split()[0] == kernel, f"{known.module} is made for {magic.split()[0]}, not for {kernel}"
        wanted = settings.driver_release(kind)
        assert version == wanted, f"{known.module} for {kernel} is {version or 'of no version'}, wanted {wanted}"


@control("HF-ACC-016", "Nothing of the library's package runs beside the inference service", refs=[f"{ETSI} 5.6-5"])
def test_nothing_shares(host: Host) -> None:
    state = host.run("readlink /etc/systemd/system/hailort.service").stdout.strip()
    assert state == "/dev/null", "hailort.service is not masked: as root it would offer the chip to every program"
