#!/bin/sh
# Compiles a kernel driver with DKMS for a kernel that is not running; runs in a throw-away root file system.
#
# usage: build-driver.sh PACKAGE_FILE SOURCE NAME RELEASE KERNEL [TEMPLATE WORD]
#
# SOURCE is the package's folder with the source, from the root. TEMPLATE in it becomes dkms.conf, with RELEASE in place
# of WORD. Of the package nothing but its source is unpacked, and none of its scripts is run: they would build for the
# kernel of this machine, and load the result.
set -eu

package=$1 source=$2 name=$3 release=$4 kernel=$5 template=${6:-} word=${7:-}
tree=/usr/src/$name-$release

dpkg-deb --fsys-tarfile "$package" | tar -C / -x "./$source"
[ "/$source" = "$tree" ] || cp -a "/$source" "$tree"
[ -z "$template" ] || sed "s/$word/$release/g" "$tree/$template" >"$tree/dkms.conf"

# The same bytes on every day and machine.
export KBUILD_BUILD_TIMESTAMP="$SOURCE_DATE_EPOCH" KBUILD_BUILD_USER=hatfleet KBUILD_BUILD_HOST=hatfleet

dkms add -m "$name" -v "$release"
if ! dkms build -m "$name" -v "$release" -k "$kernel"; then
	cat "/var/lib/dkms/$name/$release/build/make.log" >&2
	exit 1
fi
