#!/bin/sh
# The initramfs's first and only program: load the modules it was made with, open the root file system that the kernel
# command line names by its root hash, and hand over. Runs on klibc's tools, findfs and dmsetup, without udev. An end of this
# script is a kernel panic (the first process must not end), which with panic= is a reboot: nothing else ever runs.
#
#   roothash=HASH                  root hash of the dm-verity tree
#   hatfleet.verity=BLOCKS:SALT    size of the root file system in blocks of 4096 bytes, salt of the tree
#   hatfleet.system=A:B            PARTUUIDs of the system partitions of slot a and slot b
#   hatfleet.slot=a|b|firmware     the slot; "firmware": the one whose boot partition the device tree names
#
# An initramfs with the module overlay was made for a virtual device to try things on: what is written to / is kept on
# the data partition, above the verified root.
set -eu
export PATH=/bin

# How long to wait for the system partition, in tenths of a second.
patience=300

fail() {
	echo "hatfleet-initramfs: $*" >/dev/console
	exit 1
}

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev

# A name that ends in ? is a module that this machine may do without, such as one for instructions its processor lacks.
while read -r module; do
	case $module in
	*\?) insmod "/modules/${module%\?}" 2>/dev/null || true ;;
	*) insmod "/modules/$module" || fail "the kernel refused $module" ;;
	esac
done </modules/order

# The firmware's answer is the partition's number as four bytes, most significant first; read drops the zeros.
slot_of_firmware() {
	read -r number </proc/device-tree/chosen/bootloader/partition || true
	case $number in
	"$(printf '\002')") echo a ;;
	"$(printf '\003')") echo b ;;
	*) fail "the firmware does not say which partition it booted from" ;;
	esac
}

hash='' verity='' system='' slot='' target=/root
read -r arguments </proc/cmdline
for argument in $arguments; do
	case $argument in
	roothash=*) hash=${argument#roothash=} ;;
	hatfleet.verity=*) verity=${argument#hatfleet.verity=} ;;
	hatfleet.system=*) system=${argument#hatfleet.system=} ;;
	hatfleet.slot=*) slot=${argument#hatfleet.slot=} ;;
	esac
done
[ "$slot" != firmware ] || slot=$(slot_of_firmware)
case $slot in
a) partition=${system%%:*} ;;
b) partition=${system##*:} ;;
*) fail "no hatfleet.slot= on the kernel command line" ;;
esac
if [ -z "$hash" ] || [ -z "$verity" ] || [ -z "$partition" ]; then
	fail "the kernel command line lacks roothash=, hatfleet.verity= or hatfleet.system="
fi
blocks=${verity%%:*} salt=${verity##*:}

until device=$(findfs "PARTUUID=$partition" 2>/dev/null); do
	[ "$patience" -gt 0 ] || fail "the system partition $partition did not appear"
	patience=$((patience - 1))
	sleep 0.1
done

# The tree begins one block behind the data: that block is its header. A block that is not what the hash says ends in a
# panic at once, whoever reads it.
dmsetup create root --readonly --noudevrules --noudevsync --table "0 $((blocks * 8)) verity 1 $device $device 4096 4096 $blocks $((blocks + 1)) sha256 $hash $salt 2 panic_on_corruption ignore_zero_blocks" ||
	fail "cannot open $device with root hash $hash"
# The kernel names it before udev has a say.
mount -t erofs -o ro,nodev /dev/dm-0 /root || fail "cannot mount $device: its content is not what root hash $hash says"
for folder in dev sys proc; do
	mount -o move "/$folder" "/root/$folder"
done
# From here on everything that runs is part of the verified root.
# shellcheck disable=SC2094  # a terminal is both read and written
chroot /root /usr/lib/hatfleet/state.sh "$slot" </root/dev/console >/root/dev/console 2>&1 ||
	{ echo "hatfleet-initramfs: /var could not be made ready" >/root/dev/console; exit 1; }
if [ -e /modules/overlay.ko ]; then
	target=/new
	above=/root/var/lib/hatfleet/overlay
	mkdir -p "$above/above" "$above/work"
	mount -t overlay -o "lowerdir=/root,upperdir=$above/above,workdir=$above/work" overlay /new || fail "cannot mount the overlay"
	for folder in var run dev sys proc etc/machine-id; do
		mount -o move "/root/$folder" "/new/$folder"
	done
fi
# shellcheck disable=SC2094  # a terminal is both read and written
exec run-init "$target" /sbin/init <"$target/dev/console" >"$target/dev/console" 2>&1
