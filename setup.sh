#!/bin/sh
# Install what hatfleet needs on a Debian machine: host packages (as root, or through sudo) and a virtual
# environment with exactly the versions and hashes of requirements.lock.
# Usage: setup.sh [VENV [FILE]], where FILE lists more host packages.
set -eu

venv=${1:-.venv}
more=${2:-/dev/null}
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null 2>&1; then
		sudo "$@"
	else
		echo "setup: root is needed for: $*" >&2
		echo "  run this as root, or install sudo" >&2
		exit 2
	fi
}

if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: this needs Debian 12 or 13 (apt-get was not found)" >&2
	exit 2
fi

missing=''
# shellcheck disable=SC2013  # one package a line
for package in $(grep -hv '^#' packages.txt "$more"); do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
	[ "$state" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
	echo "setup: installing$missing" >&2
	as_root apt-get update -qq
	# shellcheck disable=SC2086  # a list of package names, split on purpose
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
fi

# Debian's own interpreter first: another one on PATH may lack venv.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! "$venv/bin/python" -c '' 2>/dev/null; then
	rm -rf "$venv"
	"$python" -m venv "$venv"
fi
echo "setup: installing the locked Python packages" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
	-e . -e ./hatserve
echo "setup: ready ($("$venv/bin/python" --version))" >&2
