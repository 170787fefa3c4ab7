"""The virtual machine of the lab: QEMU ``-M virt`` with Debian's own kernel."""

from __future__ import annotations

from hatfleet.image.platforms.model import Platform

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
    boot_devices=("vda",),
)
