#!/bin/sh
# Give up everything that this device has written since it was flashed, its identity included, and start anew: the next
# boot makes an empty data partition. What is on the disk is not overwritten; it only does not count any more.
set -eu

# As grow-data.sh reads it: the mark and its place, in blocks of 4096 bytes from the start of the disk.
mark='hatfleet: data has no file system yet'
mark_block=1024

# shellcheck disable=SC1091,SC2154  # made with the image
. /usr/lib/hatfleet/layout
# shellcheck disable=SC2154
data=$(findfs "PARTUUID=$data_partuuid")
disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/$(basename "$data")")")")
printf '%s' "$mark" | dd of="$disk" bs=4096 seek="$mark_block" conv=notrunc,fsync 2>/dev/null
echo "hatfleet-wipe: the next boot makes /var anew"
# No clean shutdown: nothing that is written from here on is wanted.
systemctl reboot --force --no-block
