"""Ways to undo what the role harden guarantees on a running device; none of them cuts the admin off."""

from __future__ import annotations

from tests.fleet.damage import Damage

DAMAGE: tuple[Damage, ...] = (
    Damage(
        "SSH takes passwords",
        "sed -i 's/^PasswordAuthentication .*/PasswordAuthentication yes/' /etc/ssh/sshd_config.d/10-hatfleet.conf; "
        "systemctl reload ssh.service",
        ("HF-HARDEN-001",),
    ),
    Damage(
        "SSH lets one account in by password from anywhere, by a Match block",
        "printf 'Match User admin\\n  PasswordAuthentication yes\\n' >>/etc/ssh/sshd_config; "
        "systemctl reload ssh.service",
        ("HF-HARDEN-001",),
    ),
    Damage(
        "SSH reads an old drop-in again",
        "printf 'X11Forwarding yes\\nDisableForwarding no\\nMACs hmac-sha1\\n' >/etc/ssh/sshd_config.d/00-old.conf; "
        "sed -i 's/\\*-hatfleet\\*/*/' /etc/ssh/sshd_config; systemctl reload ssh.service",
        ("HF-HARDEN-002", "HF-HARDEN-004"),
    ),
    Damage(
        "SSH is started with options that override its configuration",
        "echo 'SSHD_OPTS=\"-o MaxAuthTries=20\"' >/etc/default/ssh; systemctl restart ssh.service",
        ("HF-HARDEN-006",),
    ),
    Damage(
        "kernel parameters are changed in the running kernel",
        "sysctl -w kernel.kptr_restrict=0 net.ipv4.tcp_syncookies=0 fs.protected_symlinks=0",
        ("HF-HARDEN-010",),
    ),
    Damage(
        "one network interface follows redirects",
        "echo 1 >/proc/sys/net/ipv4/conf/lo/accept_redirects",
        ("HF-HARDEN-011",),
    ),
    Damage("kernel parameters are lost at the next boot", "rm /etc/sysctl.d/90-hatfleet.conf", ("HF-HARDEN-012",)),
    Damage("unneeded kernel modules can be loaded", "rm /etc/modprobe.d/hatfleet.conf", ("HF-HARDEN-013",)),
    Damage(
        "a module that booting needs is blocked",
        "echo 'install vfat /bin/false' >>/etc/modprobe.d/hatfleet.conf",
        ("HF-HARDEN-014",),
    ),
    Damage("programs in /tmp can be executed", "mount -o remount,exec,suid /tmp", ("HF-HARDEN-020",)),
    Damage(
        "/var/tmp is an ordinary directory again",
        "systemctl disable --now var-tmp.mount",
        ("HF-HARDEN-021", "HF-HARDEN-025"),
    ),
    Damage("programs in /dev/shm can be executed", "mount -o remount,exec /dev/shm", ("HF-HARDEN-022",)),
    Damage("/boot/firmware is writable", "mount -o remount,rw /boot/firmware", ("HF-HARDEN-023",)),
    Damage(
        "a port is open that nobody declared",
        "nft insert rule inet hatfleet input tcp dport 8080 accept",
        ("HF-HARDEN-031", "HF-HARDEN-032"),
    ),
    # After the one before, which needs the table that this one removes.
    Damage(
        "the packet filter is empty",
        "nft flush ruleset",
        ("HF-HARDEN-030", "HF-HARDEN-031", "HF-HARDEN-032"),
    ),
    Damage(
        "the resolver answers the network's name queries",
        "rm /etc/systemd/resolved.conf.d/zz-hatfleet.conf; systemctl restart systemd-resolved.service",
        ("HF-HARDEN-033",),
    ),
    Damage("the packet filter is not loaded at boot", "systemctl disable nftables.service", ("HF-HARDEN-032",)),
    Damage(
        "unwanted services can be started",
        "systemctl unmask avahi-daemon.service rpcbind.socket",
        ("HF-HARDEN-040",),
    ),
    Damage(
        "Ctrl-Alt-Del reboots the device",
        "rm /etc/systemd/system.conf.d/10-hatfleet.conf; systemctl unmask ctrl-alt-del.target",
        ("HF-HARDEN-041",),
    ),
    Damage(
        "a login is offered on a console",
        "systemctl unmask getty@.service; systemctl start --no-block getty@tty3.service; sleep 2",
        ("HF-HARDEN-042",),
    ),
    Damage("root has an empty password", "passwd -d root", ("HF-HARDEN-043", "HF-HARDEN-054")),
    Damage(
        "new files can be read by everybody",
        "sed -i 's/^UMASK.*/UMASK 022/' /etc/login.defs; rm /etc/profile.d/50-hatfleet.sh",
        ("HF-HARDEN-050", "HF-HARDEN-051", "HF-HARDEN-055"),
    ),
    Damage(
        "sessions of accounts with a group of their own have another umask",
        "sed -i '/nousergroups/d' /etc/pam.d/common-session /etc/pam.d/common-session-noninteractive",
        ("HF-HARDEN-051",),
    ),
    Damage(
        "programs leave core dumps",
        "echo '* hard core unlimited' >/etc/security/limits.d/10-hatfleet.conf; sysctl -w kernel.core_pattern=core",
        ("HF-HARDEN-010", "HF-HARDEN-052"),
    ),
    Damage("su is open to everybody", "sed -i '/pam_wheel/d' /etc/pam.d/su", ("HF-HARDEN-053",)),
    Damage("the banner tells the system's version", "printf 'Debian \\\\r \\\\m\\n' >/etc/issue", ("HF-HARDEN-056",)),
    Damage("everybody can read password hashes", "chmod 0644 /etc/shadow", ("HF-HARDEN-060",)),
    Damage(
        "a program gives everybody root's rights",
        "install -m 4755 /usr/bin/env /usr/local/bin/hatfleet-probe; chmod u+s /usr/bin/su",
        ("HF-HARDEN-061",),
    ),
)
