"""Stage modules: drivers that come as source, compiled for the image's kernel in a root that is thrown away.

On a device with a read-only root nothing can be compiled, and a compiler has no business there. What leaves the stage
is the kernel modules; the drivers' packages are installed later (:func:`install_drivers`) without their scripts, which
would compile for the kernel of the building machine, and without their source.
"""

from __future__ import annotations

import lzma
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.fleet.connectors.holder import Holder, Output
from hatfleet.fleet.roles import KernelDriver
from hatfleet.image import tree
from hatfleet.image.bootstrap import ARCHIVE
from hatfleet.image.initramfs import kernel_version
from hatfleet.image.packages import REPOSITORY
from hatfleet.image.wanted import BUILD_PACKAGES

#: Folder of the stage's output.
MODULES = "modules"

#: Where DKMS puts modules, below those of a kernel: depmod prefers them to the kernel's own of the same name.
TARGET = "updates/dkms"

#: Where packages and scripts are in a root file system while it is worked in.
_WORK = "var/lib/hatfleet-build"

_FILES = Path(__file__).parent / "files"
_BUILD, _INSTALL = "build-driver.sh", "install-driver.sh"

_APT = (
    *("apt-get", "-y", "-q", "-o", "APT::Sandbox::User=root", "-o", "APT::Install-Recommends=false"),
    *("-o", f"Dir::Etc::sourcelist=/{_WORK}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null"),
    *("-o", "Acquire::Languages=none"),
)

#: Ends a signed module; the signature's length stands before it, in the last four bytes of a struct of twelve
#: (Linux, include/linux/module_signature.h).
_SIGNED, _SIGNATURE_INFO_BYTES = b"~Module signature appended~\n", 12

#: How much of a compiler's output is told.
_TOLD_LINES = 20


def build_modules(
    work: Path,
    *,
    bootstrap: Path,
    toolchain: Path,
    drivers: Sequence[KernelDriver],
    epoch_s: int,
    log: Path,
    progress: Callable[[str], None],
) -> None:
    """Compile drivers for the one kernel of a root file system.

    Args:
        work: Receives :data:`MODULES` with a file for each module.
        bootstrap: Output of the stage bootstrap.
        toolchain: Output of the stage toolchain: compiler, headers, the drivers' packages.
        drivers: What to compile.
        epoch_s: What the compiler takes for the time, seconds since 1970.
        log: Receives what the tools print.
        progress: Told what is being done.

    Raises:
        InputError: a driver is known not to build for this kernel.
        HatfleetError: one does not compile, or what comes of it is not for this kernel.
    """
    root = work / "root"
    tree.unpack(bootstrap / ARCHIVE, root, log, without="./dev/*")
    kernel = kernel_version(root)
    for driver in drivers:
        require_buildable(driver, kernel)
    build = tree.inside(root, _WORK)
    shutil.copytree(toolchain / REPOSITORY, build / "packages")
    shutil.copy(_FILES / _BUILD, build)
    (build / "sources.list").write_text(f"deb [trusted=yes] file:/{_WORK}/packages ./\n")
    (work / MODULES).mkdir()
    with Holder(root) as holder:
        progress("installing compiler and headers")
        _check(holder, [*_APT, "update"], log)
        _check(holder, [*_APT, "install", *BUILD_PACKAGES, f"linux-headers-{kernel}"], log)
        for driver in drivers:
            progress(f"compiling {driver.name} {driver.release} for {kernel}")
            _compile(holder, driver, kernel, package_file(toolchain, driver).name, epoch_s=epoch_s, log=log)
            for name in driver.modules:
                (work / MODULES / f"{name}.ko").write_bytes(_built(root, driver, kernel, name))
    shutil.rmtree(root)


def install_drivers(root: Path, *, toolchain: Path, built: Path, drivers: Sequence[KernelDriver], log: Path) -> None:
    """Install drivers' packages, without their scripts and their source, and the modules that were compiled before.

    Args:
        root: The root file system.
        toolchain: Output of the stage toolchain.
        built: Output of the stage modules.
        drivers: The drivers.
        log: Receives what the tools print.

    Raises:
        HatfleetError: a package does not install.
    """
    kernel = kernel_version(root)
    target = tree.inside(root, f"usr/lib/modules/{kernel}/{TARGET}")
    target.mkdir(parents=True, exist_ok=True)
    for module in sorted((built / MODULES).iterdir()):
        shutil.copyfile(module, target / module.name)
    build = tree.inside(root, _WORK)
    build.mkdir()
    shutil.copy(_FILES / _INSTALL, build)
    with Holder(root) as holder:
        for driver in drivers:
            package = package_file(toolchain, driver)
            shutil.copy(package, build)
            _check(holder, ["sh", f"/{_WORK}/{_INSTALL}", f"/{_WORK}/{package.name}"], log)
        _check(holder, ["depmod", "-a", kernel], log)
    shutil.rmtree(build)


def require_buildable(driver: KernelDriver, kernel: str) -> None:
    """Check that a driver is not known to fail for a kernel.

    Raises:
        InputError: it is; the error says why.
    """
    numbers = re.match(r"(\d+)\.(\d+)", kernel)
    if driver.kernel_limit and numbers and (int(numbers[1]), int(numbers[2])) >= driver.kernel_limit:
        first = ".".join(str(number) for number in driver.kernel_limit)
        raise InputError(
            f"the driver {driver.name} {driver.release} does not build for the kernel {kernel}: {driver.limit_reason}",
            hint=f"take another version of the driver, or a kernel before {first}",
        )


def package_file(toolchain: Path, driver: KernelDriver) -> Path:
    """Return the file of a driver's package.

    Raises:
        HatfleetError: it is not among the packages that were fetched.
    """
    files = sorted((toolchain / REPOSITORY).glob(f"{driver.package}_*.deb"))
    if len(files) != 1:
        raise HatfleetError(f"the package {driver.package} of a driver was not fetched")
    return files[0]


def unsigned(module: bytes) -> bytes:
    """Return a kernel module without its signature: DKMS makes a new key for each."""
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED)
    length = int.from_bytes(module[end - 4 : end], "big")
    return module[: end - _SIGNATURE_INFO_BYTES - length]


def built_for(module: bytes) -> str | None:
    """Return the kernel that a module says it was compiled for (the first word of its ``vermagic``), if it says so."""
    found = re.search(rb"\0vermagic=([^\0 ]+)", module)
    return found[1].decode() if found else None


def _compile(holder: Holder, driver: KernelDriver, kernel: str, package: str, *, epoch_s: int, log: Path) -> None:
    command = ["env", f"SOURCE_DATE_EPOCH={epoch_s}", "sh", f"/{_WORK}/{_BUILD}"]
    command += [f"/{_WORK}/packages/{package}", driver.source, driver.name, driver.release, kernel]
    ended = _logged(holder, [*command, *(driver.template or ())], log)
    if ended.returncode:
        raise HatfleetError(
            f"the driver {driver.name} {driver.release} does not compile for the kernel {kernel}:\n{_last(ended)}",
            hint=f"the whole output: {log}",
        )


def _built(root: Path, driver: KernelDriver, kernel: str, name: str) -> bytes:
    """Return a module as DKMS has compiled it, plain."""
    folder = tree.inside(root, f"var/lib/dkms/{driver.name}/{driver.release}/{kernel}").resolve()
    found = sorted(folder.glob(f"*/module/{name}.ko*"))
    if len(found) != 1:
        raise HatfleetError(f"the driver {driver.name} {driver.release} brings no module {name}")
    content = found[0].read_bytes()
    content = unsigned(lzma.decompress(content) if found[0].suffix == ".xz" else content)
    if (made_for := built_for(content)) != kernel:
        raise HatfleetError(f"the module {name} is for the kernel {made_for or 'of nobody'}; the image has {kernel}")
    return content


def _check(holder: Holder, argv: list[str], log: Path) -> None:
    ended = _logged(holder, argv, log)
    if ended.returncode:
        raise HatfleetError(f"{argv[0]} failed in the root file system:\n{_last(ended)}", hint=f"more in {log}")


def _logged(holder: Holder, argv: list[str], log: Path) -> Output:
    ended = holder.execute(argv)
    with log.open("ab") as handle:
        handle.write(ended.stdout + ended.stderr)
    return ended


def _last(ended: Output) -> str:
    lines = (ended.stdout + ended.stderr).decode(errors="replace").strip().splitlines()
    return "\n".join(f"    {line}" for line in lines[-_TOLD_LINES:])
