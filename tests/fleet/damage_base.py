"""Ways to damage what the role base guarantees. None cuts the admin's SSH access; all can be applied together."""

from __future__ import annotations

from tests.fleet.damage import Damage

FOREIGN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA intruder"

ADMIN_SSH = "/home/admin/.ssh"

DAMAGE: tuple[Damage, ...] = (
    Damage("root gets a password", "usermod --password '$y$j9T$aaaaaaaa$bbbbbbbb' root", ("HF-BASE-012",)),
    Damage(
        "the default account is back, with sudo without a password",
        "useradd --create-home --shell /bin/bash pi && "
        "echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/010_pi-nopasswd && chmod 440 /etc/sudoers.d/010_pi-nopasswd",
        ("HF-BASE-011", "HF-BASE-013", "HF-BASE-014"),
    ),
    Damage(
        "a second list of SSH keys opens the admin account",
        f"echo '{FOREIGN_KEY}' >{ADMIN_SSH}/authorized_keys2",
        ("HF-BASE-008",),
    ),
    Damage("the list of SSH keys can be read by all", f"chmod 644 {ADMIN_SSH}/authorized_keys", ("HF-BASE-009",)),
    Damage("the sudo rule has another mode", "chmod 400 /etc/sudoers.d/90-hatfleet-admin", ("HF-BASE-010",)),
    Damage(
        "root can be entered with a key",
        f"mkdir -p /root/.ssh && echo '{FOREIGN_KEY}' >/root/.ssh/authorized_keys",
        ("HF-BASE-015",),
    ),
    Damage(
        "a file on the boot partition opens SSH at the next boot",
        "mount -o remount,rw /boot/firmware; touch /boot/firmware/ssh; mount -o remount,ro /boot/firmware",
        ("HF-BASE-016",),
    ),
    Damage("another host name from the next boot on", "echo intruder >/etc/hostname", ("HF-BASE-001",)),
    # The own name stays: without it every sudo would wait for the name servers.
    Damage("localhost does not resolve", 'echo "127.0.1.1 $(uname -n)" >/etc/hosts', ("HF-BASE-002",)),
    Damage("another time zone", "ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime", ("HF-BASE-003",)),
    Damage(
        "another time server is asked",
        "echo 'NTP=192.0.2.1' >>/etc/systemd/timesyncd.conf.d/zz-hatfleet.conf && "
        "systemctl restart systemd-timesyncd.service",
        ("HF-BASE-005",),
    ),
    Damage("time is not synchronised after a reboot", "systemctl disable systemd-timesyncd", ("HF-BASE-004",)),
    Damage(
        "another locale for logins",
        "rm /etc/default/locale && echo LANG=tlh_KX.UTF-8 >/etc/default/locale",
        ("HF-BASE-006",),
    ),
    Damage("the journal has no limits", "rm /etc/systemd/journald.conf.d/zz-hatfleet.conf", ("HF-BASE-017",)),
    Damage("packages may come from anywhere", ": >/etc/apt/preferences.d/90-hatfleet.pref", ("HF-BASE-020",)),
    Damage("no SSH server after a reboot", "systemctl disable ssh.service", ("HF-BASE-022",)),
    Damage(
        "everybody can read the SSH host key", "chmod 644 /etc/ssh/ssh_host_ed25519_key", ("HF-BASE-023",), last=True
    ),
    Damage(
        "a drop-in changes the host key service",
        "mkdir -p /etc/systemd/system/hatfleet-hostkey.service.d && "
        "printf '[Service]\\nExecStart=\\nExecStart=/bin/true\\n'"
        " >/etc/systemd/system/hatfleet-hostkey.service.d/override.conf && systemctl daemon-reload",
        ("HF-BASE-024",),
    ),
    Damage("the host key script is altered", "echo : >>/usr/lib/hatfleet/hatfleet-hostkey.sh", ("HF-BASE-025",)),
    Damage("another service makes host keys", "systemctl unmask sshd-keygen.service", ("HF-BASE-026",)),
)
