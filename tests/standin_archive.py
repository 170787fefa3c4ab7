"""A stand-in for Raspberry Pi's package archive: real names and paths, tiny contents, a throw-away key.

The real archive cannot be reached from where these tests run. What they rely on is the table below: which package
brings which path. Each entry names its source. None of the packages has been seen by us: the sources are scripts and
logs of people who have them, and ``unconfirmed`` names what not even those show.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SUITE, ARCH = "trixie", "arm64"

#: The kernel of Raspberry Pi OS of 2026-06-18 (RPi-Distro/pi-gen, export-noobs/00-release/files/release_notes.txt).
KERNEL = "6.18.34+rpt-{flavour}"
VERSION = "1:6.18.34-1+rpt1"

_COPIED = "the public image builder pi-gen-micro, which copies these out of the unpacked kernel package"


@dataclass(frozen=True)
class StandIn:
    """A package: its name, what it needs and the paths it brings."""

    name: str
    paths: tuple[str, ...]
    source: str
    depends: str = ""
    unconfirmed: tuple[str, ...] = ()
    """Names, or the last parts of paths."""
    version: str = VERSION
    arch: str = ARCH
    conflicts: str = ""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """What files hold whose content matters, by their paths."""
    scripts: Mapping[str, bytes] = field(default_factory=dict)
    """Maintainer scripts by their names."""


def _kernel(flavour: str) -> tuple[StandIn, ...]:
    version = KERNEL.format(flavour=flavour)
    trees = f"usr/lib/linux-image-{version}"
    image = StandIn(
        f"linux-image-{version}",
        (
            f"boot/vmlinuz-{version}",
            f"boot/config-{version}",
            f"boot/System.map-{version}",
            f"usr/lib/modules/{version}/modules.builtin",
            f"usr/lib/modules/{version}/kernel/drivers/md/dm-verity.ko.xz",
            f"{trees}/broadcom/bcm2711-rpi-4-b.dtb",
            f"{trees}/broadcom/bcm2712-rpi-5-b.dtb",
            f"{trees}/broadcom/bcm2712-d-rpi-5-b.dtb",
            f"{trees}/broadcom/bcm2712d0-rpi-5-b.dtb",
            f"{trees}/broadcom/bcm2712-rpi-500.dtb",
            f"{trees}/broadcom/bcm2712-rpi-cm5-cm5io.dtb",
            f"{trees}/overlays/README",
            f"{trees}/overlays/bcm2712d0.dtbo",
            f"{trees}/overlays/disable-bt-pi5.dtbo",
            f"{trees}/overlays/disable-wifi-pi5.dtbo",
            f"{trees}/overlays/hat_map.dtb",
            f"{trees}/overlays/overlay_map.dtb",
            f"{trees}/overlays/tpm-slb9670.dtbo",
            f"{trees}/overlays/vc4-kms-v3d-pi5.dtbo",
        ),
        f"{_COPIED}; boot/ and modules as in every Debian kernel package",
        unconfirmed=("README", "hat_map.dtb", "overlay_map.dtb", "tpm-slb9670.dtbo"),
    )
    meta = StandIn(
        f"linux-image-{flavour}", (), "apt logs of Raspberry Pi OS in public issues", depends=f"linux-image-{version}"
    )
    return image, meta


_DRIVER = Path(__file__).parent / "standin_driver"

#: Firmware of the Hailo-10H (hailo-ai/hailort-drivers v5.1.1, common/pcie_common.c; SKU ids seen in public logs).
FIRMWARE_10H = tuple(
    f"usr/lib/firmware/hailo/hailo10h/{name}"
    for name in (
        "customer_certificate.bin",
        "fitImage",
        "image-fs",
        "scu_fw.bin",
        "u-boot-6.dtb.signed",
        "u-boot-default.dtb.signed",
        "u-boot-spl.bin",
        "u-boot-tfa.itb",
    )
)

_HAILO_LOGS = "apt logs and file listings of Raspberry Pi OS (Trixie) in public issues and notes"


def driver(name: str, version: str, *, module: str, device: str, firmware: tuple[str, ...], rest: str = "") -> StandIn:
    """A driver's package: source that really compiles, where the real one has it, firmware, and a script that must not
    be run.

    Args:
        name: The package.
        version: Its version, and the driver's.
        module: The kernel module's name.
        device: The PCI device, such as 0x45c4.
        firmware: Its files of firmware.
        rest: Appended to the module's source.
    """
    source = "usr/src/hailort-pcie-driver"
    contents = {}
    for file in sorted((_DRIVER / "linux").rglob("*")):
        if file.is_file():
            text = file.read_text().format(module=module, version=version, device=device)
            contents[f"{source}/{file.relative_to(_DRIVER)}"] = (text + (rest if file.suffix == ".c" else "")).encode()
    rule = "usr/lib/udev/rules.d/51-hailo-udev.rules"
    contents[rule] = b'SUBSYSTEM=="hailo_chardev", MODE="0666"\n'
    return StandIn(
        name,
        (*contents, *firmware),
        f"{_HAILO_LOGS}: source in /{source}, built by make install_dkms; hailo-ai/hailort-drivers for what is in it",
        unconfirmed=("51-hailo-udev.rules",),
        version=version,
        arch="all",
        contents=contents,
        scripts={"postinst": (_DRIVER / "postinst").read_bytes()},
    )


def hailo10h(version: str = "5.1.1") -> tuple[StandIn, ...]:
    """The packages of the Hailo-10H, all of one version."""
    bindings = "usr/lib/python3/dist-packages/hailo_platform"
    return (
        StandIn(
            "h10-hailort",
            ("usr/bin/hailortcli", f"usr/lib/libhailort.so.{version}"),
            _HAILO_LOGS,
            version=version,
            conflicts="hailort",
        ),
        driver("h10-hailort-pcie-driver", version, module="hailo1x_pci", device="0x45c4", firmware=FIRMWARE_10H),
        StandIn("python3-h10-hailort", (f"{bindings}/__init__.py",), _HAILO_LOGS, version=f"{version}-1"),
    )


def hailo8(version: str = "4.23.0") -> tuple[StandIn, ...]:
    """The packages of the Hailo-8, all of one version."""
    bindings = "usr/lib/python3/dist-packages/hailo_platform"
    firmware = ("usr/lib/firmware/hailo/hailo8_fw.bin",)
    return (
        StandIn("hailort", ("usr/bin/hailortcli", f"usr/lib/libhailort.so.{version}"), _HAILO_LOGS, version=version),
        driver("hailort-pcie-driver", version, module="hailo_pci", device="0x2864", firmware=firmware),
        StandIn("python3-hailort", (f"{bindings}/__init__.py",), _HAILO_LOGS, version=f"{version}-1"),
    )


PACKAGES = (
    *_kernel("rpi-2712"),
    *_kernel("rpi-v8"),
    *hailo10h(),
    *hailo8(),
    StandIn(
        "raspi-utils",
        ("usr/bin/vcgencmd", "usr/bin/vcmailbox"),
        "raspberrypi/utils",
        unconfirmed=("vcgencmd", "vcmailbox"),
    ),
    StandIn(
        "raspi-firmware",
        ("usr/lib/raspi-firmware/start4.elf",),
        "Debian's package of that name",
        unconfirmed=("start4.elf",),
    ),
    StandIn(
        "rpi-eeprom",
        ("usr/bin/rpi-eeprom-update",),
        "raspberrypi/rpi-eeprom",
        unconfirmed=("rpi-eeprom-update",),
    ),
    StandIn(
        "raspberrypi-archive-keyring",
        ("usr/share/keyrings/raspberrypi-archive-keyring.pgp",),
        "raspi.sources of Raspberry Pi OS (Trixie)",
    ),
)


def content(path: str) -> bytes:
    """What the stand-in's file at a path holds: the path, and for a kernel what makes it one for the firmware."""
    if "/vmlinuz-" in path:
        # Raspberry Pi's kernels are packed with gzip.
        return gzip.compress(path.encode(), mtime=0)
    return f"stand-in for {path}\n".encode()


@dataclass(frozen=True)
class StandInArchive:
    """A signed archive in a folder."""

    folder: Path
    keyring: Path
    fingerprint: str


def build_archive(folder: Path, packages: Sequence[StandIn] = PACKAGES) -> StandInArchive:
    """Make packages, index and signature below a new folder."""
    pool = folder / "pool"
    pool.mkdir(parents=True)
    index = "".join(_package(folder, pool, package) for package in packages)
    binary = folder / "dists" / SUITE / "main" / f"binary-{ARCH}"
    binary.mkdir(parents=True)
    (binary / "Packages").write_text(index)
    digest = hashlib.sha256(index.encode()).hexdigest()
    release = (
        f"Origin: hatfleet stand-in\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: {ARCH}\nComponents: main\n"
        f"Date: {email.utils.formatdate(usegmt=True)}\n"
        f"SHA256:\n {digest} {len(index)} main/binary-{ARCH}/Packages\n"
    )
    keyring = folder / "keyring.asc"
    fingerprint = _sign(release, binary.parents[1] / "InRelease", keyring)
    return StandInArchive(folder, keyring, fingerprint)


@contextmanager
def served(archive: StandInArchive) -> Iterator[str]:
    """Serve an archive on the loopback interface; give its address."""
    handler = partial(_Quiet, directory=str(archive.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def _package(archive: Path, pool: Path, package: StandIn) -> str:
    control = f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {package.arch}\n"
    control += "Maintainer: hatfleet tests <t@t>\n"
    control += f"Depends: {package.depends}\n" if package.depends else ""
    control += f"Conflicts: {package.conflicts}\n" if package.conflicts else ""
    control += "Description: stand-in for a package of Raspberry Pi's archive\n"
    file = pool / f"{package.name}.deb"
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work) / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(control)
        for name, text in package.scripts.items():
            (tree / "DEBIAN" / name).write_bytes(text)
            (tree / "DEBIAN" / name).chmod(0o755)
        for path in package.paths:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(package.contents.get(path) or content(path))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, file], check=True, capture_output=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{control}Filename: {file.relative_to(archive)}\nSize: {file.stat().st_size}\nSHA256: {digest}\n\n"


def _sign(release: str, target: Path, keyring: Path) -> str:
    """Sign with a new key, which nobody keeps; return its fingerprint."""
    # Directly below /tmp: the agent's socket lies in it, and such a path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
        try:
            subprocess.run(
                [*gpg, "--quick-generate-key", "hatfleet stand-in", "rsa2048", "sign", "never"],
                check=True,
                capture_output=True,
            )
            subprocess.run([*gpg, "--clearsign", "-o", target], input=release.encode(), check=True, capture_output=True)
            exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
            listed = subprocess.run([*gpg, "--with-colons", "-k"], check=True, capture_output=True, text=True).stdout
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
    keyring.write_bytes(exported)
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
