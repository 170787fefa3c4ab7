#!/bin/sh
# The initramfs's first and only program: load the modules it was made with, find the root file system that the
# kernel command line names, mount it and hand over. Runs on klibc's tools and findfs, without udev. An end of this script is a
# kernel panic (the first process must not end), which is what a device that cannot boot should show and act upon
# (kernel argument panic=).
set -eu
export PATH=/bin

# How long to wait for the root device with rootwait, in tenths of a second.
patience=300

fail() {
	echo "hatfleet-initramfs: $*" >/dev/console
	exit 1
}

# find_device ROOT: print the device that root=ROOT names, if it is there.
find_device() {
	case $1 in
	PARTUUID=*) findfs "$1" 2>/dev/null || true ;;
	/dev/*) [ ! -e "$1" ] || echo "$1" ;;
	*) fail "root=$1 is not supported: use PARTUUID=... or /dev/..." ;;
	esac
}

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=0755 devtmpfs /dev

while read -r module; do
	insmod "/modules/$module" || fail "the kernel refused $module"
done </modules/order

root='' type=ext4 access=ro init=/sbin/init
read -r arguments </proc/cmdline
for argument in $arguments; do
	case $argument in
	root=*) root=${argument#root=} ;;
	rootfstype=*) type=${argument#rootfstype=} ;;
	init=*) init=${argument#init=} ;;
	ro | rw) access=$argument ;;
	esac
done
[ -n "$root" ] || fail "no root= on the kernel command line"

device=$(find_device "$root")
while [ -z "$device" ]; do
	[ "$patience" -gt 0 ] || fail "the root device $root did not appear"
	patience=$((patience - 1))
	sleep 0.1
	device=$(find_device "$root")
done

mount -t "$type" -o "$access" "$device" /root || fail "cannot mount $device ($type)"
for folder in dev sys proc; do
	mount -o move "/$folder" "/root/$folder"
done
# shellcheck disable=SC2094  # a terminal is both read and written
exec run-init /root "$init" </root/dev/console >/root/dev/console 2>&1
