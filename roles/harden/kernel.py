"""The kernel: arguments, parameters, modules, USB."""

from __future__ import annotations

from hatfleet.ops import file, kernel_args, render, sysctl_live
from roles.harden.operations import interface_sysctls
from roles.harden.settings import SERIAL_CONSOLES, Console, Kernel


def sysctl_file(settings: Kernel) -> str:
    """Return the parameters as a sysctl.d file."""
    return render(
        role_file=__file__,
        template="90-hatfleet-sysctl.conf.j2",
        parameters=settings.parameters(),
        interfaces=settings.interface_parameters(),
    )


def modprobe_file(settings: Kernel) -> str:
    """Return the modprobe.d file that keeps modules from being loaded."""
    return render(role_file=__file__, template="hatfleet-modprobe.conf.j2", modules=settings.denied_modules())


def apply(settings: Kernel, console: Console) -> None:
    """Configure the running kernel and the next one that boots."""
    file(path="/etc/sysctl.d/90-hatfleet.conf", content=sysctl_file(settings), name="kernel parameters")
    sysctl_live(values=settings.parameters(), name="running kernel parameters")
    interface_sysctls(values=settings.interface_parameters(), name="running network parameters")
    file(path="/etc/modprobe.d/hatfleet.conf", content=modprobe_file(settings), name="kernel modules")
    kernel_args(
        present=settings.arguments(),
        absent=() if console.serial_kernel_messages else SERIAL_CONSOLES,
        name="kernel arguments",
    )
