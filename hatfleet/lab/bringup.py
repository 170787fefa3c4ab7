"""Bringing several devices up at the same time, and undoing it when that is interrupted."""

from __future__ import annotations

import contextlib
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.progress import Step, say
from hatfleet.lab import machine
from hatfleet.lab.boot import Boot, BootError
from hatfleet.lab.console import ConsoleReader
from hatfleet.lab.device import Device, device_lock, devices, find_device, load_device, remove_folder
from hatfleet.lab.images import LabImage, check_unchanged
from hatfleet.lab.inventory import update_inventory


@dataclass(frozen=True)
class Template:
    """What devices that do not exist yet are made with."""

    image: LabImage
    memory_mib: int
    cpus: int
    boot_key: str | None = None


def bring_up(names: list[str], template: Template | None, timeout_s: float, shown: Step) -> list[Device]:
    """Have these devices ready for SSH: make, start and wait for them, each as far as it is not there yet.

    Args:
        names: The devices.
        template: What missing devices are made with; None when none may be missing.
        timeout_s: How long each may take.
        shown: The step that shows what they are at.

    Raises:
        InputError: a device cannot be made or started.
        BootError: a device did not come up; it is off again, its console log is kept.
    """
    with contextlib.ExitStack() as locks:
        # Taken here and not in the threads, where Ctrl-C could not end a wait.
        for name in sorted(names):
            locks.enter_context(device_lock(name, say))
        fresh = [name for name in names if _never_up(name)]
        off = [name for name in names if name in fresh or not machine.is_running(load_device(name))]
        try:
            for name in fresh:
                _make(name, template)
            _wait_for_all([load_device(name) for name in names], off, timeout_s, shown)
        except HatfleetError:
            raise
        except BaseException:
            for name in off:
                machine.cut(name)
            for name in fresh:
                remove_folder(name)
            update_inventory()
            raise
    return [load_device(name) for name in names]


def _never_up(name: str) -> bool:
    """Return whether there is no device of that name, or only the remains of one that never came up."""
    device = find_device(name)
    return device is None or device.host_key is None


def _make(name: str, template: Template | None) -> None:
    if template is None:
        raise InputError(f"{name} never came up, so there is nothing to start", hint="make it anew: provision lab up")
    machine.cut(name)
    remove_folder(name)
    device = Device(
        name=name,
        image=template.image.path,
        image_identity=template.image.identity,
        user=template.image.user,
        memory_mib=template.memory_mib,
        cpus=template.cpus,
        boot_key=template.boot_key,
        port=machine.free_port(other.port for other in devices()),
    )
    device.folder.mkdir(parents=True, mode=0o700)
    machine.make_disk(device)
    device.save()


def _wait_for_all(members: list[Device], off: list[str], timeout_s: float, shown: Step) -> None:
    give_up = threading.Event()
    phases = {device.name: "starts" for device in members}

    def report(name: str, phase: str) -> None:
        phases[name] = phase
        shown.update(" · ".join(f"{each} {what}" for each, what in phases.items()))

    def one(device: Device) -> None:
        reader = ConsoleReader.at_end(device.console_log)
        boot = Boot(device, reader, timeout_s, give_up, functools.partial(report, device.name))
        if device.name in off:
            _switch_on(boot)
        else:
            boot.wait_for_login()

    with ThreadPoolExecutor(max_workers=len(members)) as pool:
        futures = [pool.submit(one, device) for device in members]
        try:
            wait(futures)
        except BaseException:
            give_up.set()
            # A login attempt ends at once when its other end is gone.
            for name in off:
                machine.cut(name)
            raise
    _raise_errors(futures)


def _switch_on(boot: Boot) -> None:
    """Start a device and wait until it is ready; one that fails is off again."""
    try:
        check_unchanged(boot.device)
        boot.device = machine.start(boot.device)
        boot.wait_for_key()
        boot.wait_for_login()
    except BaseException:
        machine.cut(boot.device.name)
        raise


def _raise_errors(futures: list[Future[None]]) -> None:
    errors = [error for future in futures if (error := future.exception()) is not None]
    if not errors:
        return
    if len(errors) == 1 or not all(isinstance(error, HatfleetError) for error in errors):
        raise errors[0]
    text = "\n".join(str(error) for error in errors)
    raise BootError(
        f"{len(errors)} of {len(futures)} devices did not come up:\n{text}",
        hint="all that a device said: provision lab console NAME",
    )
