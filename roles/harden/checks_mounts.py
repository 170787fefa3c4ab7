"""Proofs of what the role harden guarantees about mounts, read from the running device."""

from __future__ import annotations

from typing import Any

from hatfleet.compliance import agree, control, none_of, not_applicable

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


def mounted(host: Any, settings: Any, path: str) -> None:
    """Assert that a path is mounted with the declared options."""
    found = host.run(f"findmnt -rno OPTIONS --mountpoint {path}")
    assert found.rc == 0, f"{path} is not a mount of its own"
    options = found.stdout.strip().splitlines()[-1].split(",")
    missing = [option for option in settings.mounts.options()[path] if option not in options]
    none_of(missing, f"{path} is mounted without")


@control("HF-HARDEN-020", "Nothing in /tmp can be executed", refs=[f"{CIS} 1.1.2.1", f"{ETSI} 5.6-5"], needs="boot")
def test_tmp(host: Any, settings: Any) -> None:
    mounted(host, settings, "/tmp")
    script = "f=/tmp/.hatfleet-probe; printf '#!/bin/sh\\n' >$f && chmod 700 $f && $f; r=$?; rm -f $f; exit $r"
    assert host.run(script).rc == 126, "a script in /tmp could be executed"


@control("HF-HARDEN-021", "Nothing in /var/tmp can be executed", refs=[f"{CIS} 1.1.2.5", f"{ETSI} 5.6-5"], needs="boot")
def test_var_tmp(host: Any, settings: Any) -> None:
    mounted(host, settings, "/var/tmp")


@control("HF-HARDEN-022", "Nothing in /dev/shm can be executed", refs=[f"{CIS} 1.1.2.2", f"{ETSI} 5.6-5"], needs="boot")
def test_dev_shm(host: Any, settings: Any) -> None:
    mounted(host, settings, "/dev/shm")


@control(
    "HF-HARDEN-023",
    "/boot/firmware is read-only and nothing in it can be executed",
    refs=[f"{CIS} 1.4.2"],
    needs="boot",
)
def test_boot_firmware(host: Any, settings: Any) -> None:
    mounted(host, settings, "/boot/firmware")


@control(
    "HF-HARDEN-024",
    "/proc shows users only their own processes, where that is declared",
    refs=[f"{ETSI} 5.6-7"],
    needs="boot",
)
def test_proc(host: Any, settings: Any) -> None:
    mounted(host, settings, "/proc")
    if not settings.mounts.hide_processes:
        not_applicable("mounts.hide_processes is off: it breaks parts of systemd and polkit")


@control(
    "HF-HARDEN-025",
    "The mounts are set up the same way at the next boot",
    refs=[f"{CIS} 1.1.2"],
)
def test_mount_units(host: Any) -> None:
    text = host.check_output("systemctl is-enabled tmp.mount var-tmp.mount hatfleet-remount.service || true")
    states = dict(zip(("tmp.mount", "var-tmp.mount", "hatfleet-remount.service"), text.split(), strict=False))
    agree(states, dict.fromkeys(("tmp.mount", "var-tmp.mount", "hatfleet-remount.service"), "enabled"), "units")
