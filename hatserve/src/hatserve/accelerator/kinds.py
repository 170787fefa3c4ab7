"""The kinds of accelerators: how each is recognised and what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

#: No accelerator is wanted: models run on the CPU.
NONE = "none"


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of accelerator."""

    name: str
    title: str
    pci_ids: tuple[str, ...]
    """Vendor and device, as in ``1e60:45c4``."""
    usb_ids: tuple[str, ...]
    module: str
    """The kernel module that drives it on PCI; on USB it needs none."""
    driver: str
    """What that module's driver is called in /sys/bus/pci/drivers."""
    classes: tuple[str, ...]
    """Folders of /sys/class that its device nodes may be in; which one depends on the driver's version."""
    architectures: tuple[str, ...]
    """What ``hailortcli fw-control identify`` calls it; empty when that program does not know it."""
    firmware: tuple[str, ...]
    """Files below /lib/firmware that the driver asks for, as patterns."""
    libraries: tuple[str, ...]
    """Debian packages that may hold its library; the installed one counts."""
    bindings: tuple[str, ...]
    """Debian packages that may hold the library's Python bindings."""
    link_speed_gts: float
    """The PCIe speed that it trains at, in GT/s."""
    link_width: int
    """The number of PCIe lanes that a Raspberry Pi 5 gives it."""

    @property
    def coupled(self) -> bool:
        """Whether driver, firmware, library and bindings must be of one version."""
        return bool(self.architectures)


_HAILO10H = Kind(
    name="hailo10h",
    title="Hailo-10H",
    # hailort-drivers, common/pcie_common.h.
    pci_ids=("1e60:45c4",),
    usb_ids=(),
    module="hailo1x_pci",
    # hailort-drivers, common/pcie_common.h: DRIVER_NAME.
    driver="hailo1x",
    # hailort-drivers, linux/pcie/src/pcie.c: /dev/hailo0 up to 5.2.0, /dev/h1x-0 from 5.3.0 on.
    classes=("hailo_chardev", "hailo1x"),
    architectures=("HAILO10H",),
    # hailort-drivers 5.1.1, common/pcie_common.c; the name of the device tree has the board's SKU in it.
    firmware=(
        "hailo/hailo10h/customer_certificate.bin",
        "hailo/hailo10h/scu_fw.bin",
        "hailo/hailo10h/u-boot-*.dtb.signed",
        "hailo/hailo10h/u-boot-spl.bin",
        "hailo/hailo10h/u-boot-tfa.itb",
        "hailo/hailo10h/fitImage",
        "hailo/hailo10h/image-fs",
    ),
    # Raspberry Pi's archive; then Hailo's own packages.
    libraries=("h10-hailort", "hailort"),
    bindings=("python3-h10-hailort", "python3-hailort"),
    link_speed_gts=8.0,
    link_width=1,
)

_HAILO8 = Kind(
    name="hailo8",
    title="Hailo-8",
    pci_ids=("1e60:2864",),
    usb_ids=(),
    module="hailo_pci",
    driver="hailo",
    classes=("hailo_chardev",),
    architectures=("HAILO8", "HAILO8L"),
    # hailort-drivers, branch hailo8, common/pcie_common.c.
    firmware=("hailo/hailo8_fw.bin",),
    libraries=("hailort",),
    bindings=("python3-hailort",),
    link_speed_gts=8.0,
    link_width=1,
)

_CORAL = Kind(
    name="coral",
    title="Coral Edge TPU",
    pci_ids=("1ac1:089a",),
    # Before and after the library has loaded its firmware into the stick.
    usb_ids=("1a6e:089a", "18d1:9302"),
    module="apex",
    driver="apex",
    classes=("apex",),
    architectures=(),
    firmware=(),
    libraries=("libedgetpu1-std", "libedgetpu1-max"),
    bindings=(),
    # Coral, M.2 Accelerator datasheet: PCIe Gen 2, one lane.
    link_speed_gts=5.0,
    link_width=1,
)

#: Every kind by name, in the order in which they are looked for.
KINDS = {kind.name: kind for kind in (_HAILO10H, _HAILO8, _CORAL)}
