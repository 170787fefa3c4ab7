"""The virtual machine of the lab: QEMU ``-M virt`` with Debian's own kernel."""

from __future__ import annotations

from pathlib import Path

from hatfleet.image.platforms.model import Platform, RootFile

_VCMAILBOX = Path(__file__).parents[1] / "files" / "vcmailbox"

VIRT = Platform(
    name="virt",
    title="QEMU's virtual machine",
    arch="arm64",
    # The cloud kernel has what a hardened device in the lab needs (virtio, ext4, EROFS with zstd, dm-verity, overlay,
    # nftables, WireGuard, AppArmor, vfat with its code pages) in a fifth of the standard kernel's size; it has neither
    # USB nor cpufreq, as the machine has none. docs/decisions/0004-image-stages.md lists what was compared.
    packages=("linux-image-cloud-arm64",),
    kernel_arguments=("console=ttyAMA0", "panic=10"),
    # PCI, ext4 and the partition tables are built into the kernel.
    initramfs_modules=("virtio_blk",),
    lab=True,
    # Stands in for Raspberry Pi's program: asks the lab's firmware stage for a trial boot.
    files=(RootFile("usr/bin/vcmailbox", _VCMAILBOX.read_text(), 0o755),),
    boot_devices=("vda",),
)
