#!/bin/sh
# Installs a driver's package for dpkg's records and for its firmware, without its scripts and without its source.
#
# usage: install-driver.sh PACKAGE_FILE
#
# Its scripts compile for the running kernel, which is the building machine's, and load the result. What the package
# depends on is for compiling; whatever else it needs is asked for by name.
set -eu

package=$1
tree=${package%.deb}

dpkg-deb -R "$package" "$tree"
for script in preinst postinst prerm postrm config triggers; do
	rm -f "$tree/DEBIAN/$script"
done
dpkg-deb -Znone -b "$tree" "$tree-plain.deb"
dpkg --force-depends --path-exclude='/usr/src/*' --install "$tree-plain.deb"
