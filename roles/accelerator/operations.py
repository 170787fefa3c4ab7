"""Operations of this role. Where the settings leave it open, each finds out first which accelerator the device has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from hatfleet.ops import Command, Note, OperationError, ShellRead, Steps, file, is_live, operation, quote
from hatfleet.ops.packages import APT, EXACT, installed_packages, missing_packages, packages_held

#: Prints the kind of every accelerator on PCI and USB, known by its ids (hailort-drivers, common/pcie_common.h; Coral's
#: PCI id, and its USB ids before and after its firmware is loaded), never by its address.
FIND = """\
cd /sys/bus/pci/devices 2>/dev/null && for d in *; do
	case "$(cat "$d/vendor" "$d/device" 2>/dev/null | tr '\\n' ' ')" in
	"0x1e60 0x45c4 ") echo hailo10h ;;
	"0x1e60 0x2864 ") echo hailo8 ;;
	"0x1ac1 0x089a ") echo coral ;;
	esac
done
cd /sys/bus/usb/devices 2>/dev/null && for d in *; do
	case "$(cat "$d/idVendor" "$d/idProduct" 2>/dev/null | tr '\\n' ' ')" in
	"1a6e 089a " | "18d1 9302 ") echo coral ;;
	esac
done
true"""

DETECT, NONE = "detect", "none"


def resolved(kind: str) -> Steps:
    """Return the kind: the declared one, or on a running device the one that is found.

    Raises:
        OperationError: several kinds are found.
    """
    if kind != DETECT:
        return kind
    found = sorted(set((yield ShellRead(FIND)))) if is_live() else []
    if len(found) > 1:
        raise OperationError(f"the device has several accelerators ({', '.join(found)}): set accelerator.kind to one")
    return found[0] if found else NONE


@operation()
def usable_stack(
    *,
    kind: str,
    families: Mapping[str, Sequence[str]],
    wanted: Mapping[str, Sequence[str]],
    unfit: Mapping[str, Sequence[tuple[int, int, str]]],
) -> Steps:
    """Stop, before anything is changed, where the stack of an accelerator cannot work on a running device.

    Args:
        kind: The declared kind.
        families: By kind, the packages of its family.
        wanted: By kind, its packages as ``name=version``.
        unfit: By kind, the kernels from which on its driver does not build, and why.

    Raises:
        OperationError: another family is installed, the driver does not build for the running kernel, or the archive
            has another version than the declared one.
    """
    if not is_live():
        return
    kind = yield from resolved(kind)
    if kind not in wanted:
        return
    others = tuple(name for family, names in families.items() if family != kind for name in names)
    if foreign := (yield from installed_packages(others)):
        raise OperationError(
            f"packages of another accelerator are installed: {', '.join(foreign)}. They and those of {kind} cannot "
            f"exist together: remove them (apt-get purge {' '.join(foreign)}), or set accelerator.kind"
        )
    (kernel,) = yield ShellRead("uname -r")
    for major, minor, reason in unfit.get(kind, ()):
        if _kernel(kernel) >= (major, minor):
            raise OperationError(f"the driver does not build for the running kernel {kernel}: {reason}")
    missing = yield from missing_packages(wanted[kind])
    yield from _offered([name for name in missing if "=" in name])


def _offered(missing: Sequence[str]) -> Steps:
    """Stop if the archive has a package, but not in the declared version."""
    if not missing:
        return
    names = [name.partition("=")[0] for name in missing]
    lines = yield ShellRead(f"apt-cache madison {quote(*names)} 2>/dev/null || true")
    offers: dict[str, list[str]] = {}
    for package, version, *_ in ([part.strip() for part in line.split("|")] for line in lines):
        offers.setdefault(package, []).append(version)
    for name in missing:
        package, _, version = name.partition("=")
        if package in offers and version not in offers[package]:
            raise OperationError(
                f"{package} {version} is declared, but the archive has {', '.join(dict.fromkeys(offers[package]))}: "
                f"set accelerator.versions to versions that it has, or keep {version} in an archive of your own"
            )


def _kernel(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


@operation()
def stack(*, kind: str, wanted: Mapping[str, Sequence[str]]) -> Steps:
    """Have an accelerator's packages installed in exactly their versions, and held; in an image they are already.

    Args:
        kind: The declared kind.
        wanted: By kind, its packages as ``name=version``, the driver first.
    """
    kind = yield from resolved(kind)
    names = wanted.get(kind, ())
    if not names:
        return
    if is_live() and (missing := (yield from missing_packages(names))):
        yield Note(", ".join(missing), "install")
        # DKMS and headers come first: a driver that is installed without them is compiled once, and is gone with the
        # next kernel. Headers of the flavour follow the kernel from then on.
        before = "dkms linux-headers-$(uname -r)$(uname -r | sed -n 's/.*+rpt-/ linux-headers-/p')"
        driver = f"{APT} install {before} && " if kind != "coral" else ""
        yield Command(f"{APT} update && {driver}{APT} {EXACT} install {quote(*missing)}")
    yield from packages_held.body(names=[name.partition("=")[0] for name in names])


@operation(affects=(ShellRead,))
def system_group(*, group: str) -> Steps:
    """Have a group for a device, which no person is in by being a person."""
    found = yield ShellRead(f"getent group {quote(group)} || true")
    if found:
        return
    yield Note(group, "new system group")
    yield Command(f"groupadd --system {quote(group)}")


@operation(at="path")
def options_file(*, kind: str, path: str, lines: Mapping[str, str]) -> Steps:
    """Have a modprobe.d file with the module parameters of the kind, or with none.

    Args:
        kind: The declared kind.
        path: The file.
        lines: By kind, its line.
    """
    kind = yield from resolved(kind)
    yield from file.body(path=path, content=f"# Written by hatfleet (role accelerator).\n{lines.get(kind, '')}")


@operation(at="path")
def status_file(*, kind: str, path: str, values: Mapping[str, float | None]) -> Steps:
    """Have the file that tells the device's own programs what it is meant to have.

    Args:
        kind: The declared kind.
        path: The file.
        values: What else stands in it.
    """
    kind = yield from resolved(kind)
    yield from file.body(path=path, content=json.dumps({"kind": kind, **values}, indent=2) + "\n")
