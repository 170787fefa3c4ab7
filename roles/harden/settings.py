"""Settings of the role harden, and the tables of what it declares with them.

The operations write these tables to the device and the checks compare the device with them, so neither can drift
from the other. This module is also read without the rest of the role, and therefore imports none of it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, IPvAnyNetwork, StringConstraints, model_validator

from hatfleet.fleet.settings import RoleSettings
from hatfleet.fleet.settings import Settings as Group

Port = Annotated[int, Field(ge=1, le=65535)]
UnitName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|path|target|mount|automount)$")
]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\s'\"]+$")]
ModuleName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
SysctlKey = Annotated[str, StringConstraints(pattern=r"^-?[a-z0-9_]+(\.[A-Za-z0-9_*-]+)+$")]

SSH_PORT = 22

#: A leading "-" marks what not every kernel has (Raspberry Pi's has no Yama, for one).
SYSCTLS: dict[str, str | int] = {
    "kernel.kptr_restrict": 2,
    "kernel.dmesg_restrict": 1,
    "-kernel.unprivileged_bpf_disabled": 1,
    "-net.core.bpf_jit_harden": 2,
    "-kernel.kexec_load_disabled": 1,
    "kernel.sysrq": 0,
    "-kernel.perf_event_paranoid": 3,
    "-kernel.yama.ptrace_scope": 2,
    "kernel.randomize_va_space": 2,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "kernel.core_pattern": "|/bin/false",
    "-dev.tty.ldisc_autoload": 0,
    "-vm.unprivileged_userfaultfd": 0,
    "vm.mmap_min_addr": 65536,
    "fs.protected_hardlinks": 1,
    "fs.protected_symlinks": 1,
    "fs.protected_fifos": 2,
    "fs.protected_regular": 2,
    "fs.suid_dumpable": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.icmp_ignore_bogus_error_responses": 1,
    "net.ipv4.tcp_syncookies": 1,
    "net.ipv4.tcp_rfc1337": 1,
}

#: Per network interface. The kernel combines "all" with the interface's own value by AND, OR or MAX, depending on the
#: key; only the same value everywhere means what it says. rp_filter is added from the settings.
INTERFACE_SYSCTLS_IPV4: dict[str, int] = {
    "accept_redirects": 0,
    "secure_redirects": 0,
    "send_redirects": 0,
    "accept_source_route": 0,
    "log_martians": 1,
}
INTERFACE_SYSCTLS_IPV6: dict[str, int] = {"accept_redirects": 0, "accept_source_route": 0}

BLOCKED_MODULES = (
    *("dccp", "sctp", "rds", "tipc"),
    *("cramfs", "freevxfs", "jffs2", "hfs", "hfsplus", "udf"),
    *("firewire-core", "firewire-ohci", "firewire-sbp2"),
)

#: Without these a Raspberry Pi, or an A/B image, does not boot or cannot be updated; other hardening guides block some.
NEEDED_MODULES = ("vfat", "nls_ascii", "squashfs", "overlay", "erofs", "loop", "dm_mod", "dm_verity", "nf_tables")

KERNEL_ARGUMENTS = (
    "slab_nomerge",
    "init_on_alloc=1",
    "page_alloc.shuffle=1",
    "randomize_kstack_offset=on",
    "debugfs=off",
    "oops=panic",
    "panic=10",
    # Names that a kernel was built without are skipped by it; this order is Debian's own.
    "lsm=landlock,lockdown,yama,integrity,apparmor,bpf",
)

#: The kernel's serial consoles as Raspberry Pi OS and our virtual devices name them.
SERIAL_CONSOLES = tuple(
    f"console={port}{speed}"
    for port in ("serial0", "serial1", "ttyAMA0", "ttyAMA10", "ttyS0")
    for speed in ("", ",115200", ",115200n8")
)

UNWANTED_UNITS = (
    *("avahi-daemon.service", "avahi-daemon.socket"),
    *("bluetooth.service", "hciuart.service", "ModemManager.service", "triggerhappy.service", "triggerhappy.socket"),
    *("cups.service", "cups.socket", "cups.path", "cups-browsed.service"),
    *("rpcbind.service", "rpcbind.socket", "rpc-statd.service", "nfs-server.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "apt-daily.service", "apt-daily-upgrade.service"),
    # Look for LVM snapshots, at every boot and weekly; these devices have none.
    *("e2scrub_all.timer", "e2scrub_reap.service"),
    # Raspberry Pi OS: firmware updates from the running system, SSH switched on by a file on the FAT partition,
    # and its dialogue for the first user.
    *("rpi-eeprom-update.service", "sshswitch.service", "userconfig.service"),
    *("debug-shell.service", "ctrl-alt-del.target", "kexec.target"),
    # Sockets would start sshd with options of their own.
    "ssh.socket",
)

#: Masking one of these would cut the admin off or switch a protection off.
KEEP_STARTABLE = frozenset({"ssh.service", "nftables.service", "tmp.mount", "var-tmp.mount"})

SETID_ALLOWED = (
    "/usr/bin/sudo",
    # Lets a process that is not root have its own user's password state checked; Debian's PAM needs it.
    "/usr/sbin/unix_chkpwd",
    # Starts system services that have no systemd unit; only group messagebus may run it.
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
)

#: Path: mode, owner, group. What does not exist on a device is left out there.
FILE_RIGHTS: dict[str, tuple[str, str, str]] = {
    "/etc/passwd": ("0644", "root", "root"),
    "/etc/passwd-": ("0644", "root", "root"),
    "/etc/group": ("0644", "root", "root"),
    "/etc/group-": ("0644", "root", "root"),
    "/etc/shadow": ("0640", "root", "shadow"),
    "/etc/shadow-": ("0640", "root", "shadow"),
    "/etc/gshadow": ("0640", "root", "shadow"),
    "/etc/gshadow-": ("0640", "root", "shadow"),
    "/etc/security/opasswd": ("0600", "root", "root"),
    "/etc/ssh": ("0755", "root", "root"),
    "/etc/ssh/sshd_config": ("0600", "root", "root"),
    "/etc/ssh/sshd_config.d": ("0755", "root", "root"),
    "/etc/ssh/sshd_config.d/10-hatfleet.conf": ("0600", "root", "root"),
    "/etc/ssh/ssh_host_ed25519_key": ("0600", "root", "root"),
    "/etc/ssh/ssh_host_ed25519_key.pub": ("0644", "root", "root"),
    "/etc/sudoers": ("0440", "root", "root"),
    "/etc/sudoers.d": ("0750", "root", "root"),
    "/etc/crontab": ("0600", "root", "root"),
    "/etc/cron.d": ("0700", "root", "root"),
    "/etc/cron.hourly": ("0700", "root", "root"),
    "/etc/cron.daily": ("0700", "root", "root"),
    "/etc/cron.weekly": ("0700", "root", "root"),
    "/etc/cron.monthly": ("0700", "root", "root"),
    "/etc/nftables.conf": ("0600", "root", "root"),
    "/root": ("0700", "root", "root"),
    "/boot": ("0700", "root", "root"),
}


class Ssh(Group):
    """The SSH daemon: keys only, modern algorithms only, nothing forwarded."""

    max_auth_tries: Annotated[int, Field(ge=1, le=6)] = 3
    """Keys that a client may offer in one connection before it is cut off."""
    max_sessions: Annotated[int, Field(ge=1, le=10)] = 4
    """Sessions that one connection may open."""
    login_grace_s: Annotated[int, Field(ge=5, le=120)] = 30
    """Seconds that a client has for logging in."""
    client_alive_s: Annotated[int, Field(ge=15, le=900)] = 300
    """Seconds of silence after which the client is probed; after two unanswered probes it is disconnected."""


class Firewall(Group):
    """nftables, default deny."""

    ssh_sources: tuple[IPvAnyNetwork, ...] = ()
    """Networks that may reach SSH (such as 10.77.0.0/24); empty: any. A list without your own address locks you out."""
    ssh_new_per_minute: Annotated[int, Field(ge=10, le=600)] = 60
    """New SSH connections per minute and source address, also the size of a permitted burst."""
    tcp_ports: tuple[Port, ...] = ()
    """TCP ports that are open beside SSH."""
    udp_ports: tuple[Port, ...] = ()
    """UDP ports that are open."""
    output_open: bool = True
    """Let the device open connections to anywhere; false: only to the output ports below, DHCP and ICMP."""
    output_tcp_ports: tuple[Port, ...] = ()
    """TCP ports of others that the device may connect to when output_open is false."""
    output_udp_ports: tuple[Port, ...] = (53, 123)
    """UDP ports of others that the device may send to when output_open is false (53 is DNS, 123 is time)."""

    def open_ports(self) -> dict[str, set[int]]:
        """Return the ports that may be reached from outside, by protocol, with SSH and the DHCP client's."""
        return {"tcp": {SSH_PORT, *self.tcp_ports}, "udp": {68, 546, *self.udp_ports}}


class Kernel(Group):
    """The kernel: its arguments, parameters and modules."""

    sysctl: dict[SysctlKey, str | int] = Field(default_factory=dict)
    """Parameters that are added to, or replace, those of the role; a leading "-" marks an optional one."""
    strict_reverse_path: bool = True
    """Drop packets that come in where their answer would not go out; false (loose) where routing is asymmetric."""
    blocked_modules: tuple[ModuleName, ...] = BLOCKED_MODULES
    """Kernel modules that cannot be loaded."""
    usb_storage: bool = False
    """Let USB mass storage work; a device that boots from a USB disk needs it."""
    usb_devices: Literal["all", "internal", "none"] = "internal"
    """USB devices that are used without being authorised by root: all, only hard-wired ones, or none."""
    init_on_free: bool = False
    """Overwrite memory when it is freed; off: its cost on inference, which frees large buffers, is unmeasured."""

    @model_validator(mode="after")
    def _leave_it_bootable(self) -> Self:
        needed = sorted({name.replace("-", "_") for name in self.blocked_modules}.intersection(NEEDED_MODULES))
        if needed:
            raise ValueError(f"{', '.join(needed)} must not be blocked: the device boots and is updated with them")
        return self

    def parameters(self) -> dict[str, str | int]:
        """Return the kernel parameters that hold once for the system, as declared."""
        replaced = {key.removeprefix("-") for key in self.sysctl}
        kept = {key: value for key, value in SYSCTLS.items() if key.removeprefix("-") not in replaced}
        return {**kept, **self.sysctl}

    def interface_parameters(self) -> dict[str, dict[str, int]]:
        """Return the parameters of every network interface, by protocol."""
        reverse_path = 1 if self.strict_reverse_path else 2
        return {
            "ipv4": {**INTERFACE_SYSCTLS_IPV4, "rp_filter": reverse_path},
            "ipv6": dict(INTERFACE_SYSCTLS_IPV6),
        }

    def denied_modules(self) -> tuple[str, ...]:
        """Return all modules that must not be loaded."""
        return (*self.blocked_modules, *(() if self.usb_storage else ("usb-storage", "uas")))

    def needed_modules(self) -> tuple[str, ...]:
        """Return the modules that must stay loadable."""
        return NEEDED_MODULES

    def usb_default(self) -> str:
        """Return the kernel's number for ``usb_devices``."""
        return {"none": "0", "all": "1", "internal": "2"}[self.usb_devices]

    def arguments(self) -> tuple[str, ...]:
        """Return the kernel arguments."""
        free = "init_on_free=1" if self.init_on_free else "init_on_free=0"
        return (*KERNEL_ARGUMENTS, free, f"usbcore.authorized_default={self.usb_default()}")


class Mounts(Group):
    """Options of what is mounted."""

    tmp_size_percent: Annotated[int, Field(ge=5, le=75)] = 25
    """The most of the memory that /tmp may take, in percent."""
    boot_firmware_read_only: bool = True
    """Mount /boot/firmware read-only; apt makes it writable while it installs, by a hook of this role."""
    hide_processes: bool = False
    """Show users only their own processes in /proc. Off: parts of systemd and polkit do not work with it."""

    def options(self) -> dict[str, tuple[str, ...]]:
        """Return the options by mount point."""
        safe = ("nosuid", "nodev", "noexec")
        return {
            "/tmp": safe,  # noqa: S108  # the mount point itself
            "/var/tmp": safe,  # noqa: S108
            "/dev/shm": safe,  # noqa: S108
            "/proc": (*safe, *(("hidepid=invisible",) if self.hide_processes else ())),
            "/boot/firmware": (*safe, "ro" if self.boot_firmware_read_only else "rw"),
        }


class Services(Group):
    """Units that must not run."""

    masked: tuple[UnitName, ...] = UNWANTED_UNITS
    """Units that cannot be started, also when a package brings them later."""
    keep: tuple[UnitName, ...] = ()
    """Units taken out of that list again."""

    def units(self) -> tuple[str, ...]:
        """Return the units that are masked."""
        return tuple(unit for unit in self.masked if unit not in self.keep)

    @model_validator(mode="after")
    def _leave_the_admin_a_way_in(self) -> Self:
        needed = sorted(KEEP_STARTABLE.intersection(self.units()))
        if needed:
            raise ValueError(f"{', '.join(needed)} must not be masked: that would lock the admin out or unprotect")
        return self


class Console(Group):
    """What can be done at the device itself."""

    serial_login: bool = False
    """Offer a login on serial consoles."""
    local_login: bool = False
    """Offer a login on screen and keyboard. Passwords are locked, so nobody could log in there anyway."""
    serial_kernel_messages: bool = True
    """Keep the kernel's console on the serial line. Virtual devices need it: their host key is learnt from it."""

    def masked_units(self) -> tuple[str, ...]:
        """Return the units that would offer a login."""
        serial = ("serial-getty@.service", "console-getty.service")
        local = ("getty@.service", "autovt@.service", "getty-static.service")
        return (*(() if self.serial_login else serial), *(() if self.local_login else local))


class Login(Group):
    """Sessions and accounts."""

    umask: Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3}$")] = "027"
    """Permission bits, octal, that new files do not get."""
    shell_timeout_s: Annotated[int, Field(ge=0, le=86400)] = 900
    """Seconds after which an idle interactive shell ends; 0: never."""
    su_group: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]*$")] = "sudo"
    """The group whose members may use su."""
    banner: Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\\]+$")] = (
        "Authorised use only. Use of this system is monitored and recorded."
    )
    """What is shown before a login; no backslash, because getty would replace what follows it by system details."""


class Files(Group):
    """Rights on files."""

    setid_allowed: tuple[AbsolutePath, ...] = SETID_ALLOWED
    """Programs that may have the set-user-id or set-group-id bit; every other program loses it."""

    def rights(self) -> dict[str, tuple[str, str, str]]:
        """Return mode, owner and group by path."""
        return FILE_RIGHTS


class Settings(RoleSettings):
    """Everything that the role harden lets you set; the defaults suit a fixed-function device."""

    ssh: Ssh = Ssh()
    """The SSH daemon."""
    firewall: Firewall = Firewall()
    """The packet filter."""
    kernel: Kernel = Kernel()
    """Kernel arguments, parameters, modules, USB."""
    mounts: Mounts = Mounts()
    """Mount options."""
    services: Services = Services()
    """Units that must not run."""
    console: Console = Console()
    """Logins at the device itself."""
    login: Login = Login()
    """Sessions and accounts."""
    files: Files = Files()
    """Rights on files."""
