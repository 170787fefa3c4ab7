"""The table of differences that a platform is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date

from hatfleet.image.platforms.options import NoOptions, PlatformOptions


@dataclass(frozen=True)
class Archive:
    """A package archive beside Debian's. Its address is the admin's to give; whose key signs it is not."""

    name: str
    """Whose it is, for messages."""
    components: tuple[str, ...]
    """Components of a suite; its suites have Debian's code names."""
    fingerprints: tuple[str, ...]
    """Fingerprints of the OpenPGP keys that may sign it, 40 capital hexadecimal digits each."""
    uri_variable: str
    """Environment variable that gives its address, before the recipe's."""
    keyring_variable: str
    """Environment variable that gives the file with its keys, before the recipe's."""
    documented_in: str
    """Where an admin finds address and keyring: a file of the archive's own operating system."""


@dataclass(frozen=True)
class RootFile:
    """A file of the root file system that belongs to a platform."""

    path: str
    """From the root, without a leading slash."""
    content: str
    mode: int = 0o644


@dataclass(frozen=True)
class Effect:
    """What a platform, or an option of it, brings. ``{value}`` in a text stands for the option's value."""

    packages: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    """Lines of config.txt."""
    arguments: tuple[str, ...] = ()
    """Kernel arguments."""
    files: tuple[RootFile, ...] = ()

    def with_value(self, value: object) -> Effect:
        """Return the effect for a value of the option."""

        def fill(texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(text.replace("{value}", str(value)) for text in texts)

        files = tuple(replace(file, content=file.content.replace("{value}", str(value))) for file in self.files)
        return Effect(fill(self.packages), fill(self.config), fill(self.arguments), files)


@dataclass(frozen=True)
class Choice:
    """An option of a platform, and what follows from it."""

    option: str
    """Its name in the platform's model of options."""
    why: str
    """What the lines are for: the comment above them in config.txt."""
    on: Effect = field(default=Effect())
    """When its value is neither false nor zero."""
    off: Effect = field(default=Effect())


@dataclass(frozen=True)
class BootSource:
    """Files of the root file system that the firmware reads, and so must be on the boot partition."""

    folder: str
    """Where a package has them, from the root; ``{kernel}`` stands for the kernel's version."""
    pattern: str
    """Which files of the folder."""
    package: str
    """The package, for messages; ``{kernel}`` as above."""
    required: tuple[str, ...]
    """Names that must be among them."""
    target: str = ""
    """Folder on the boot partition."""


@dataclass(frozen=True)
class Platform:
    """What an image needs for one kind of machine."""

    name: str
    title: str
    """What an admin would call the machine."""
    arch: str
    """Debian's name of the processor architecture."""
    packages: tuple[str, ...]
    """Kernel and whatever else only this machine needs, whatever the options."""
    kernel_arguments: tuple[str, ...]
    """Arguments of this machine, whatever the options; the root file system's are added."""
    initramfs_modules: tuple[str, ...]
    """Kernel modules without which the root file system cannot be mounted; what they depend on comes along."""
    lab: bool
    """Whether the lab can run it, and its key may therefore be put into an image."""
    boot_devices: tuple[str, ...]
    """What the kernel may call the disk it boots from."""
    imager_tags: tuple[str, ...] = ()
    """What Raspberry Pi Imager calls the machine; empty when it does not know it."""
    files: tuple[RootFile, ...] = ()
    """Files of the root file system that belong to the machine, whatever the options."""
    options: type[PlatformOptions] = NoOptions
    """What a recipe may choose."""
    choices: tuple[Choice, ...] = ()
    """What follows from each option."""
    archives: tuple[Archive, ...] = ()
    debian_components: tuple[str, ...] = ("main",)
    """Components of Debian's archive that its packages are in."""
    boot_sources: tuple[BootSource, ...] = ()
    """What the boot partition holds beside kernel, initramfs, command lines and config.txt."""
    config: tuple[str, ...] = ()
    """Lines of config.txt, whatever the options, with their comments."""
    slot_filter: bool = True
    """Whether the firmware knows the filter ``[boot_partition=N]``, which gives each slot its own command line.

    Without it both slots have one command line, and the initramfs asks the device tree which slot it is.
    """
    minimum_eeprom: date | None = None
    """Oldest boot loader (the EEPROM's build date) with all that an A/B image relies on; None: it has none."""
    minimum_eeprom_signed: date | None = None
    """The same when boot.img is signed; None: a signed boot.img is not offered."""

    def effects(self, options: PlatformOptions) -> Iterator[tuple[Choice, Effect]]:
        """Yield what follows from options, in the order of the table.

        Raises:
            TypeError: the options are another platform's.
        """
        if not isinstance(options, self.options):
            raise TypeError(f"{self.name} takes {self.options.__name__}, not {type(options).__name__}")
        for choice in self.choices:
            value = getattr(options, choice.option)
            yield choice, (choice.on if value else choice.off).with_value(value)

    def packages_for(self, options: PlatformOptions) -> tuple[str, ...]:
        """Return the packages that the machine needs with these options."""
        chosen = (name for _, effect in self.effects(options) for name in effect.packages)
        return (*self.packages, *chosen)

    def arguments_for(self, options: PlatformOptions) -> tuple[str, ...]:
        """Return the kernel arguments of the machine with these options."""
        chosen = (argument for _, effect in self.effects(options) for argument in effect.arguments)
        return (*self.kernel_arguments, *chosen)

    def files_for(self, options: PlatformOptions) -> tuple[RootFile, ...]:
        """Return the files of the root file system that belong to the machine with these options."""
        chosen = (file for _, effect in self.effects(options) for file in effect.files)
        return (*self.files, *chosen)

    def kernel_package(self, options: PlatformOptions) -> str:
        """Return the package that brings the kernel."""
        return next(name for name in self.packages_for(options) if name.startswith("linux-image-"))
