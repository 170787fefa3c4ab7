"""The SSH daemon.

sshd takes the first value it reads. Both its main file and our drop-in are written whole, and the main file includes
the drop-ins of hatfleet roles only: what another package or an old configuration left in sshd_config.d (cloud-init
allows passwords there) is never read.
"""

from __future__ import annotations

from hatfleet.ops import file, link, on_change, render
from roles.harden.settings import SSH_PORT, Ssh

DROP_IN = "/etc/ssh/sshd_config.d/10-hatfleet.conf"

#: Ask sshd itself before a file replaces the old one. The key only makes the question possible in an image, where the
#: device's own key does not exist yet.
SSHD_TEST = (
    'sh -c \'d=$(mktemp -d) && trap "rm -rf $d" EXIT && mkdir -p /run/sshd && '
    'ssh-keygen -q -t ed25519 -N "" -f "$d/key" && /usr/sbin/sshd -t -f "$0" -o HostKey="$d/key"\' %s'
)


def drop_in(settings: Ssh) -> str:
    """Return the content of our drop-in."""
    return render(role_file=__file__, template="10-hatfleet.conf.j2", ssh=settings, port=SSH_PORT)


def apply(settings: Ssh) -> None:
    """Configure the daemon; open sessions go on."""
    configuration = [
        file(path=DROP_IN, content=drop_in(settings), mode="0600", validate=SSHD_TEST, name="SSH daemon settings"),
        file(
            path="/etc/ssh/sshd_config",
            content=render(role_file=__file__, template="sshd_config.j2"),
            mode="0600",
            validate=SSHD_TEST,
            name="SSH daemon main file",
        ),
    ]
    options = file(
        path="/etc/default/ssh",
        content="# Written by hatfleet. Options given here would override sshd_config.\nSSHD_OPTS=\n",
        name="SSH daemon options",
    )
    # systemd 256 and later would open sshd on AF_VSOCK and a local socket too, past the packet filter.
    link(path="/etc/systemd/system-generators/systemd-ssh-generator", target="/dev/null", name="SSH over TCP only")
    # A reload is enough for the files, but options are read at the start of the daemon only; sessions survive both.
    on_change(triggers=configuration, command="systemctl try-reload-or-restart ssh.service", name="reload SSH")
    on_change(triggers=[options], command="systemctl try-restart ssh.service", name="restart SSH")
