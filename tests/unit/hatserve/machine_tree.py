"""Simulated Raspberry Pis: folders with the files of sysfs, /dev, /lib/firmware and dpkg that a real one has, and
stand-ins for the programs that ask its hardware. What they say is held to what the makers' sources print.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hatserve.accelerator.kinds import KINDS

IDENTIFY = """Executing on device: {address}
Identifying board
Control Protocol Version: 2
Firmware Version: {version} (release,app)
Logger Version: 0
Device Architecture: {architecture}

"""


class Machine:
    """A simulated machine; each method adds something to it, or takes it away."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "root"
        self.bin = folder / "bin"
        for made in (self.root / "proc", self.root / "dev", self.bin):
            made.mkdir(parents=True)
        self.monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        self.program("dmesg", "")
        self.group = ""

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the machine."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def program(self, name: str, script: str) -> None:
        """Put a stand-in for a program on PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def configure(self, **settings: Any) -> None:
        """Write the configuration, impatient unless it says otherwise."""
        patience = {"probe_attempts": 2, "probe_interval_s": 0, "identify_timeout_s": 2, "step_timeout_s": 2}
        self.write("/etc/hatserve/accelerator.json", json.dumps({**patience, **settings}))

    def pci(self, number: str, address: str = "0001:01:00.0", *, speed: str = "8.0 GT/s PCIe", width: int = 1) -> Path:
        """Add a device on PCI."""
        vendor, device = number.split(":")
        folder = f"/sys/bus/pci/devices/{address}"
        self.write(f"{folder}/vendor", f"0x{vendor}\n")
        self.write(f"{folder}/device", f"0x{device}\n")
        self.write(f"{folder}/current_link_speed", f"{speed}\n")
        self.write(f"{folder}/current_link_width", f"{width}\n")
        return self.write(f"{folder}/reset", "").parent

    def usb(self, number: str, port: str = "2-1") -> None:
        """Add a device on USB, with its node."""
        vendor, product = number.split(":")
        for name, value in (("idVendor", vendor), ("idProduct", product), ("busnum", "2"), ("devnum", "3")):
            self.write(f"/sys/bus/usb/devices/{port}/{name}", f"{value}\n")
        self.write("/dev/bus/usb/002/003", "")

    def load(self, module: str, version: str) -> None:
        """Load a kernel module."""
        self.write(f"/sys/module/{module}/version", f"{version}\n")
        driver = next(kind.driver for kind in KINDS.values() if kind.module == module)
        folder = self.write(f"/sys/bus/pci/drivers/{driver}/bind", "").parent
        (folder / "unbind").write_text("")

    def bind(self, driver: str, address: str = "0001:01:00.0") -> None:
        """Give a device to a driver."""
        link = self.root / f"sys/bus/pci/devices/{address}/driver"
        link.symlink_to(self.root / f"sys/bus/pci/drivers/{driver}")

    def node(self, name: str, sysfs_class: str, address: str = "0001:01:00.0", mode: int = 0o660) -> Path:
        """Make a device node: an ordinary file here, since making a real one needs root."""
        entry = self.root / f"sys/class/{sysfs_class}/{name}"
        entry.mkdir(parents=True)
        (entry / "device").symlink_to(self.root / f"sys/bus/pci/devices/{address}")
        node = self.write(f"/dev/{name}", "")
        node.chmod(mode)
        self.group = node.group()
        return node

    def firmware(self, kind: str) -> None:
        """Lay down every firmware file of a kind."""
        for pattern in KINDS[kind].firmware:
            self.write(f"/lib/firmware/{pattern.replace('*', 'default')}", "firmware")

    def packages(self, **versions: str) -> None:
        """Install Debian packages; names with _ for -."""
        text = "".join(
            f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nArchitecture: arm64\n"
            f"Maintainer: nobody\nDescription: stand-in\nVersion: {version}\n\n"
            for name, version in versions.items()
        )
        self.write("/var/lib/dpkg/status", text)
        (self.root / "var/lib/dpkg/info").mkdir(exist_ok=True)
        (self.root / "var/lib/dpkg/updates").mkdir(exist_ok=True)

    def hailortcli(self, identify: str, version: str = "5.1.1") -> None:
        """Put a fake hailortcli on PATH; ``identify`` is what it does when asked for the chip's identity."""
        self.program(
            "hailortcli",
            f'echo "$*" HAILORT_LOGGER_PATH=$HAILORT_LOGGER_PATH >> {self.bin}/calls\n'
            f'case "$*" in\n--version) echo "HailoRT-CLI version {version}";;\n'
            f'"fw-control identify") {identify};;\n*) exit 1;;\nesac',
        )

    def answers(self, version: str = "5.1.1", architecture: str = "HAILO10H", cli: str = "5.1.1") -> None:
        """Let the chip answer as hailortcli prints it."""
        text = IDENTIFY.format(address="0001:01:00.0", version=version, architecture=architecture)
        answer = self.write("/../bin/identify.txt", text)
        self.hailortcli(f"cat {answer}", cli)

    def fails(self, status: int, message: str) -> None:
        """Let hailortcli fail; its exit status is HailoRT's own."""
        self.hailortcli(f"echo '{message}' >&2; exit {status}")

    def hat_plus_2(self, *, driver: str = "5.1.1") -> None:
        """A Raspberry Pi 5 with an AI HAT+ 2 on which everything is as it must be."""
        new = driver >= "5.3"
        self.board()
        self.configure(kind="hailo10h")
        self.pci("1e60:45c4")
        self.load("hailo1x_pci", driver)
        self.bind("hailo1x")
        self.node("h1x-0" if new else "hailo0", "hailo1x" if new else "hailo_chardev")
        self.firmware("hailo10h")
        self.packages(h10_hailort=driver, python3_h10_hailort=f"{driver}-1")
        self.answers(driver, cli=driver)

    def board(self) -> None:
        """The board itself: model, HAT+, boot loader, clocks and temperature."""
        self.write("/proc/device-tree/model", b"Raspberry Pi 5 Model B Rev 1.0\0")
        for name, value in (("vendor", "Raspberry Pi"), ("product", "a product"), ("uuid", "0000-0000")):
            self.write(f"/proc/device-tree/hat/{name}", value.encode() + b"\0")
        self.write("/proc/device-tree/chosen/bootloader/version", b"26826259\0")
        # 2025-01-22 00:16:46 UTC.
        self.write("/proc/device-tree/chosen/bootloader/build-timestamp", struct.pack(">I", 1737505006))
        self.write("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
        self.write("/sys/class/thermal/thermal_zone0/temp", "48300\n")
        for name, value in (("scaling_cur_freq", 2400000), ("scaling_max_freq", 2400000)):
            self.write(f"/sys/devices/system/cpu/cpufreq/policy0/{name}", f"{value}\n")
        self.write("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "performance\n")
        self.write("/boot/firmware/config.txt", "[all]\ndtparam=pciex1_gen=3 # said twice\n")
        self.write("/proc/sys/kernel/random/boot_id", "11111111-1111-1111-1111-111111111111\n")
        self.write("/proc/uptime", "100.00 200.00\n")
        self.vcgencmd("0x0")

    def vcgencmd(self, throttled: str) -> None:
        """Put a stand-in for vcgencmd on PATH."""
        self.program(
            "vcgencmd",
            f'case "$1" in\nget_throttled) echo throttled={throttled};;\n'
            "bootloader_config) printf '[all]\\nBOOT_UART=0\\nPCIE_PROBE=1\\n';;\n*) exit 1;;\nesac",
        )

    def bindings(self, code: str) -> None:
        """Put a stand-in for hailo_platform where a new Python finds it."""
        folder = self.bin / "python"
        folder.mkdir(exist_ok=True)
        (folder / "hailo_platform.py").write_text(code)
        self.monkeypatch.setenv("PYTHONPATH", str(folder))

    def calls(self) -> list[str]:
        """Return how hailortcli was called."""
        calls = self.bin / "calls"
        return calls.read_text().splitlines() if calls.exists() else []
