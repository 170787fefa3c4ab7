#!/bin/sh
# Sets the CPU frequency governor of every frequency domain, and fails when the kernel did not take it everywhere.
#
# usage: hatfleet-governor.sh GOVERNOR [SYSFS_FOLDER]
set -eu

governor=$1
cpufreq=${2:-/sys/devices/system/cpu/cpufreq}
failed=0

for policy in "$cpufreq"/policy*; do
	file=$policy/scaling_governor
	if [ ! -e "$file" ]; then
		continue
	fi
	# The kernel refuses a governor it was not built with; the others of this machine are still tried.
	if ! echo "$governor" 2>/dev/null >"$file" || [ "$(cat "$file")" != "$governor" ]; then
		available=$(cat "$policy/scaling_available_governors" 2>/dev/null || true)
		echo "hatfleet-governor: ${policy##*/} does not take $governor; it offers: ${available:-unknown}" >&2
		failed=1
	fi
done

exit "$failed"
