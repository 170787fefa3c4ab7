"""A lease on a device: only one operator at a time changes it.

The lease is a file under /run of the device. It names its holder, and the shell on the device through which the
holder works: when that shell is gone (the connection was cut, the operator's machine died, the device restarted) the
lease is free at once. A shell that is still there but silent holds it until it runs out.
"""

from __future__ import annotations

import secrets
import shlex

from hatfleet.common.errors import HatfleetError

#: Where the lease lies on the device; /run is empty after a restart.
LEASE_FILE = "/run/hatfleet/lease"

#: Exit status of a script that did not get the lease (sysexits: temporary failure).
HELD = 75

# Time is that of the device since its start, which no clock setting moves. The start time of a process tells it from
# a later one with the same number.
_SCRIPT = """\
lease=@FILE@ mine=@TOKEN@ patience=@PATIENCE@
mkdir -p "${lease%/*}" || exit 1
started() { stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; set -- ${stat##*) }; shift 19; echo "$1"; }
exec 9>>"$lease.lock" && flock 9 || exit 1
while read -r until pid start token holder 2>/dev/null <"$lease"; do
  read -r now _ </proc/uptime; now=${now%.*}
  [ "$token" != "$mine" ] && [ "$until" -gt "$now" ] && [ "$(started "$pid")" = "$start" ] || break
  patience=$((patience - 1))
  [ $patience -gt 0 ] || { echo "held $((until - now)) $holder"; exit @HELD@; }
  sleep 0.1
done
read -r now _ </proc/uptime
echo "$((${now%.*} + @SECONDS@)) $$ $(started $$) $mine "@HOLDER@ >"$lease.new" && mv "$lease.new" "$lease" || exit 1
exec 9>&-
"""


class LeaseHeld(HatfleetError):
    """Somebody else is changing the device."""


class Lease:
    """One run's lease on one device.

    Args:
        holder: Who holds it, for people ("anna@admin-1").
        seconds: How long a silent holder keeps it.
        wait_s: How long to wait for one that somebody else holds, whose run may just be ending.
        file: Where it lies on the device.
    """

    def __init__(self, holder: str, seconds: float, wait_s: float = 0.0, file: str = LEASE_FILE) -> None:
        words = {
            "FILE": shlex.quote(file),
            "TOKEN": secrets.token_hex(8),
            "PATIENCE": str(int(wait_s * 10) + 1),
            "HELD": str(HELD),
            "SECONDS": str(int(seconds)),
            "HOLDER": shlex.quote(" ".join(holder.split()) or "somebody"),
        }
        self.script = _SCRIPT
        for word, value in words.items():
            self.script = self.script.replace(f"@{word}@", value)

    @staticmethod
    def check(status: int, output: bytes) -> None:
        """Look at how a command ended that began with :attr:`script`.

        Raises:
            LeaseHeld: somebody else has the lease; the message names who, and for how long at most.
        """
        words = output.decode(errors="replace").split("\n", 1)[0].split(" ", 2)
        if status == HELD and len(words) == 3 and words[0] == "held":
            minutes = max(1, round(int(words[1]) / 60))
            raise LeaseHeld(
                f"{words[2]} is changing this device; the lease ends with that run, "
                f"at the latest {minutes} min after its last command",
                hint="wait for that run, then run the same command again",
            )
