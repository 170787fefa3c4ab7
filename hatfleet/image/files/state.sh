#!/bin/sh
# Makes /var and what belongs to this one device ready, in the read-only root, before the system's first program runs.
# Started by the initramfs, with the name of the running slot, when / is already the root; /proc, /sys and /dev are
# mounted, there is no udev.
#
# Every step can be cut off at any point and is completed by the next boot: files appear by renaming, and the mark that
# says which image's factory content was laid down is written last.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

here=/usr/lib/hatfleet
factory=/usr/share/factory
state=/var/lib/hatfleet/state

say() { echo "hatfleet-state: $*"; }

# shellcheck disable=SC1091,SC2154  # made with the image
. "$here/layout"

# wait_for PARTUUID: print the device, as soon as there is one.
wait_for() {
	tries=300
	until device=$(findfs "PARTUUID=$1" 2>/dev/null); do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || { say "partition $1 did not appear"; return 1; }
		sleep 0.1
	done
	echo "$device"
}

# install_file SOURCE TARGET: put a copy in place in one step, with owner, mode and attributes.
install_file() {
	mkdir -p "$(dirname "$2")"
	rm -f "$2.new"
	cp -a "$1" "$2.new"
	sync "$2.new"
	mv -fT "$2.new" "$2"
}

mount -t tmpfs -o mode=0755,nosuid,nodev,size=20%,nr_inodes=800k tmpfs /run
mkdir -p /run/hatfleet
# Read by the udev rules that name the partitions of the running slot.
echo "hatfleet.slot=$1" >/run/hatfleet/slot

# shellcheck disable=SC2154
data=$(wait_for "$data_partuuid")
disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/$(basename "$data")")")")
# shellcheck disable=SC2154
"$here/grow-data.sh" "$disk" "$data_number" "$data"
mount -t ext4 -o nosuid,nodev,noexec "$data" /var

# The image that laid its factory content down last; its name is the root hash, which differs when anything does.
image=$(sed -n 's/.*\broothash=\([0-9a-f]*\).*/\1/p' /proc/cmdline)
mark=/var/lib/hatfleet/factory
if [ "$(cat "$mark" 2>/dev/null || true)" != "$image" ]; then
	# What is there already is the device's: it stays.
	cp -a --update=none "$factory/var/." /var/
	mkdir -p "$(dirname "$mark")"
	echo "$image" >"$mark.new"
	sync "$mark.new"
	mv -fT "$mark.new" "$mark"
fi

mkdir -p "$state"
while read -r path; do
	mkdir -p "$state$(dirname "$path")"
	if [ ! -e "$state$path" ] && [ -e "$factory/state$path" ]; then
		install_file "$factory/state$path" "$state$path"
	fi
done <"$here/state.list"

# 128 random bits, as machine-id(5) wants them; systemd reads the file before it mounts anything.
id=$state/machine-id
if ! grep -qxE '[0-9a-f]{32}' "$id" 2>/dev/null; then
	tr -d - </proc/sys/kernel/random/uuid >"$id.new"
	chmod 0444 "$id.new"
	sync "$id.new"
	mv -fT "$id.new" "$id"
	say "this device is new: its machine id is made"
fi
mount --bind "$id" /etc/machine-id
sync -f /var
