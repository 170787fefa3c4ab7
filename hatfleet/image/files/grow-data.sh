#!/bin/sh
# Make the data partition as large as the disk allows, and see that it holds a sound file system.
#
#     grow-data.sh DISK NUMBER DATA        such as: grow-data.sh /dev/mmcblk0 7 /dev/mmcblk0p7
#
# Runs at every boot before anything is mounted from DATA, in the read-only root file system with only /dev, /proc,
# /sys and a tmpfs on /run: without udev, while the kernel has other partitions of DISK in use. Every step can be cut
# off and is taken up by the next run. A file system is made only while the image's own mark, outside of all
# partitions, says that there is none yet; the mark goes when the file system is on the disk. Whatever the partition
# itself looks like, it is never a reason to make one: it may be damaged, and hold what somebody needs.
#
# Exit status: 0 the data partition can be mounted (larger or not), 2 wrong arguments or no such device, 4 its file system is damaged
# beyond what can be repaired unasked, or is none, 5 it could not be made.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

# The mark of a fresh image and the block of 4 KiB of the disk where it lies (hatfleet/image/data.py).
mark='hatfleet: data has no file system yet'
mark_block=1024

# Where ext4 has its first copy of the superblock, in blocks of 4 KiB.
backup=32768

# Sizes of partitions are multiples of this (8 MiB), in sectors of 512 bytes; less free space is not worth a write.
unit=16384

# An MBR's addresses end with this sector; a GPT's backup takes the last 33 sectors of the disk.
mbr_end=4294967295
gpt_tail=33

# In an MBR, the data partition lies in this one.
extended=4

say() {
	echo "hatfleet-data: $*"
}

# place NUMBER: print first sector and number of sectors of a partition of $disk, from the $table that sfdisk dumped.
place() {
	echo "$table" | sed -n "s|^${disk}p\{0,1\}$1 *: *start= *\([0-9]*\), *size= *\([0-9]*\),.*|\1 \2|p"
}

# resize NUMBER SECTORS: change a partition's entry in the table and nothing else.
resize() {
	echo "size=$2" | sfdisk --quiet --no-reread --no-tell-kernel --force --wipe never --wipe-partitions never \
		-N "$1" "$disk"
}

# Enlarge the data partition in the table, if there is room behind it, and then in the kernel.
grow_partition() {
	table=$(sfdisk --dump "$disk") || return
	end=$(blockdev --getsz "$disk") || return
	first='' sectors=''
	read -r first sectors <<-EOF
		$(place "$number")
	EOF
	if [ -z "$sectors" ]; then
		say "$disk has no partition $number"
		return 1
	fi
	case $table in
	*'label: dos'*) [ "$end" -le "$mbr_end" ] || end=$mbr_end ;;
	*) end=$((end - gpt_tail)) ;;
	esac
	wanted=$(((end - first) / unit * unit))
	if [ "$wanted" -gt "$sectors" ]; then
		say "partition $number grows from $((sectors / 2048)) to $((wanted / 2048)) MiB"
		grow_extended || return
		resize "$number" "$wanted" || return
		sync "$disk" || return
		sectors=$wanted
	fi
	tell_kernel
}

# An extended partition comes first: what lies in it must not reach beyond it at any moment.
grow_extended() {
	read -r outer outer_sectors <<-EOF
		$(place "$extended")
	EOF
	case $table in *'label: dos'*) ;; *) return 0 ;; esac
	[ "$((outer + outer_sectors))" -lt "$((first + wanted))" ] || return 0
	resize "$extended" "$((first + wanted - outer))" || return
	# On the disk before the next step begins.
	sync "$disk"
}

tell_kernel() {
	known=$(blockdev --getsz "$data") || return
	[ "$known" -ne "$sectors" ] || return 0
	say "the kernel learns the new size of $data"
	# Reading the whole table again is not possible while a partition of the disk is in use.
	partx --update --nr "$number" "$disk"
}

has_mark() {
	# Without NUL bytes, of which the shell would warn.
	[ "$(dd if="$disk" bs=4096 skip="$mark_block" count=1 2>/dev/null | tr -d '\000')" = "$mark" ]
}

make() {
	say "making a file system on $data"
	# Blocks of 4 KiB, also on a small partition: flash pages are no smaller. One percent kept for root, not five: this
	# is no root file system. The tables of inodes are written in the background after the first mount, which saves a
	# minute on a large card. No discard: some cards take minutes for it, and fstrim.timer does it later. UUID and seed
	# of the directory hashes are random: they belong to the device, not to the image.
	mkfs.ext4 -q -F -L data -b 4096 -I 256 -i 16384 -m 1 -E nodiscard,lazy_itable_init=1,lazy_journal_init=0 \
		"$data" </dev/null || return
	sync "$data" || return
	dd if=/dev/zero of="$disk" bs=4096 seek="$mark_block" count=1 conv=notrunc,fsync 2>/dev/null
}

# Repair what can be repaired unasked. e2fsck's status 1 and 2: repaired; 4 and more: not.
check() {
	said=$(e2fsck -p "$data" 2>&1)
	status=$?
	# The superblock is the block that is written most. Unasked, e2fsck does not look at its copies.
	if [ "$status" -eq 8 ] && ! e2label "$data" >/dev/null 2>&1; then
		say "the superblock of $data is damaged, trying its copy"
		said=$(e2fsck -p -b "$backup" -B 4096 "$data" 2>&1)
		status=$?
	fi
	echo "$said" | sed 's/^/hatfleet-data: /'
	[ "$status" -ge 4 ] || return 0
	say "the file system on $data cannot be repaired unasked (e2fsck: $status); nothing is removed"
	say "see: e2fsck -f $data; to give up its content: provision device wipe"
	exit 4
}

# file_system_field NAME: print a number from the superblock.
file_system_field() {
	echo "$superblock" | sed -n "s/^$1: *\([0-9]*\)$/\1/p"
}

# Enlarge the file system to its partition, if it is smaller by more than a rounding. The kernel does that while it is
# mounted, as transactions of the journal: a power cut leaves the old size or a larger one, and no damage.
grow_file_system() {
	superblock=$(dumpe2fs -h "$data" 2>/dev/null) || return
	has=$(($(file_system_field 'Block count') * $(file_system_field 'Block size') / 512))
	can=$(blockdev --getsz "$data") || return
	[ "$((can - has))" -ge "$unit" ] || return 0
	say "the file system on $data grows from $((has / 2048)) to $((can / 2048)) MiB"
	mkdir -p /run/hatfleet-data || return
	mount -t ext4 -o nosuid,nodev,noexec "$data" /run/hatfleet-data || return
	resize2fs "$data" >/dev/null
	status=$?
	umount /run/hatfleet-data || return
	return $status
}

if [ $# -ne 3 ]; then
	say "usage: grow-data.sh DISK NUMBER DATA"
	exit 2
fi
disk=$1 number=$2 data=$3
for device in "$disk" "$data"; do
	if [ ! -b "$device" ]; then
		say "there is no device $device"
		exit 2
	fi
done

grow_partition || say "the data partition could not be enlarged and stays as it is"
if has_mark; then
	if ! make; then
		say "no file system could be made on $data"
		exit 5
	fi
else
	check
	grow_file_system || say "the file system could not be enlarged and stays as it is"
fi
