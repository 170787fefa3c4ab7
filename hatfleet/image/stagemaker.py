"""The stages of a build but for the last: what each is made from, and how."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import hatfleet
from hatfleet.common.site import Site
from hatfleet.fleet.roles import KernelDriver, load_role_info
from hatfleet.image import disk, lock, tree
from hatfleet.image.bootfiles import INITRAMFS_FILE, collect, write_tree
from hatfleet.image.bootstage import BOOT_IMAGE, BOOTCFG_IMAGE, make_boot, make_bootcfg, require_room, trusted_key
from hatfleet.image.bootstrap import ARCHIVE, bootstrap
from hatfleet.image.checks import check_image, checks_code
from hatfleet.image.data import blank_data
from hatfleet.image.environments import make_environment
from hatfleet.image.identity import Identity
from hatfleet.image.initramfs import initramfs, unpack_kernel
from hatfleet.image.machine import host_arch
from hatfleet.image.origin import origin, origin_inputs
from hatfleet.image.packages import CONTENTS, fetch, read_contents
from hatfleet.image.provision import CompiledDrivers, provision
from hatfleet.image.recipe import Recipe, settings_digest
from hatfleet.image.seal import SCRIPTS
from hatfleet.image.stage import Stage, Workplace, code, role_code
from hatfleet.image.store import Store, digest_tree
from hatfleet.image.system import SYSTEM_IMAGE, make_system, read_verity
from hatfleet.image.tools import PACKAGES as TOOL_PACKAGES
from hatfleet.image.tools import TREE, TreeTools
from hatfleet.runtimes.environment import Environment

#: The disk and its digest.
DISK_IMAGE, DISK_SHA256 = "disk.img", "disk.sha256"

#: Files of this package that go into root file systems.
FILES = ("files/vcmailbox", *SCRIPTS)

#: Folder with what the initramfs stage found for the boot partition.
BOOT_FILES = "boot"


@dataclass(frozen=True)
class StageMaker:
    """Makes the stages; what they all need is the recipe and where outputs lie."""

    recipe: Recipe
    site: Site
    store: Store
    locked: lock.Lock | None

    def folder(self, stage: Stage) -> Path:
        """Where a stage's output lies, or will lie."""
        return self.store.path(stage.name, stage.key)

    def tools(self) -> Stage:
        """The programs that make file systems, of the machine that builds."""
        suite, arch, locked = self.recipe.suite, host_arch(), self.locked
        if locked and locked.tools_arch != arch:
            # Another machine's tools cannot run here. The same versions write the same bytes on every processor.
            locked = None
        inputs = {
            "suite": suite.name,
            "architecture": arch,
            "packages": " ".join(lock.exact(locked.tools) if locked else TOOL_PACKAGES),
            "hatfleet code": code("packages", "bootstrap"),
        }

        def make(at: Workplace) -> None:
            at.progress("programs that make file systems")
            fetched, booted = at.folder / "fetched", at.folder / "bootstrap"
            fetched.mkdir()
            booted.mkdir()
            wanted = lock.exact(locked.tools) if locked else TOOL_PACKAGES
            fetch(
                fetched,
                suite=suite,
                arch=arch,
                wanted=wanted,
                origin=origin(self.recipe, None, fetched),
                log=at.log,
                essential=locked is None,
            )
            if locked:
                lock.require_same(read_contents(fetched), locked.tools)
            bootstrap(booted, fetched=fetched, suite=suite, arch=arch, packages=TOOL_PACKAGES, log=at.log)
            tree.unpack(booted / ARCHIVE, at.folder / TREE, at.log, without="./dev/*")
            shutil.copyfile(fetched / CONTENTS, at.folder / CONTENTS)
            shutil.rmtree(fetched)
            shutil.rmtree(booted)

        return Stage("tools", inputs, make)

    def packages(self, wanted: tuple[str, ...]) -> Stage:
        """The image's packages and what they need, as files."""
        recipe, locked = self.recipe, self.locked
        names = lock.exact(locked.packages) if locked else wanted
        inputs = {
            "suite": recipe.suite.name,
            "architecture": recipe.platform.arch,
            "packages": " ".join(names),
            "lock": locked.digest if locked else "none",
            **origin_inputs(recipe),
            "hatfleet code": code("packages", "origin", "archives"),
        }

        def make(at: Workplace) -> None:
            at.progress(f"{len(names)} packages" + ("" if locked else " and what they need"))
            fetch(
                at.folder,
                suite=recipe.suite,
                arch=recipe.platform.arch,
                wanted=names,
                origin=origin(recipe, recipe.platform, at.folder),
                log=at.log,
                essential=locked is None,
            )
            if locked:
                lock.require_same(read_contents(at.folder), locked.packages)

        return Stage("packages", inputs, make)

    def bootstrap(self, packages: Stage, wanted: tuple[str, ...]) -> Stage:
        """A root file system with the packages installed."""
        recipe, fetched = self.recipe, self.folder(packages)
        inputs = {
            packages.label: packages.key,
            "time of files": str(recipe.suite.epoch_s),
            "hatfleet code": code("bootstrap"),
        }

        def make(at: Workplace) -> None:
            at.progress(f"installing {len(read_contents(fetched))} packages")
            arch = recipe.platform.arch
            bootstrap(at.folder, fetched=fetched, suite=recipe.suite, arch=arch, packages=wanted, log=at.log)

        return Stage("bootstrap", inputs, make)

    def initramfs(self, bootstrapped: Stage) -> Stage:
        """Kernel, device trees, firmware and initramfs for the boot partition."""
        recipe, folder = self.recipe, self.folder(bootstrapped)
        inputs = {
            bootstrapped.label: bootstrapped.key,
            "kernel modules": " ".join(recipe.platform.initramfs_modules),
            "writable": str(recipe.writable),
            "options": recipe.options.model_dump_json(),
            "hatfleet code": code("initramfs", "cpio", "elf", "files/init.sh", "tree", "bootfiles", "platforms"),
        }

        def make(at: Workplace) -> None:
            at.progress("kernel and initramfs")
            root = unpack_kernel(at.folder, bootstrap=folder, log=at.log)
            found = collect(root, recipe.platform, recipe.options)
            epoch_s = recipe.suite.epoch_s
            made = initramfs(root, platform=recipe.platform, epoch_s=epoch_s, writable=recipe.writable)
            write_tree(at.folder / BOOT_FILES, found, {INITRAMFS_FILE: made})
            shutil.rmtree(root)

        return Stage("initramfs", inputs, make)

    def environments(self, tools: Stage, wanted: tuple[Environment, ...]) -> dict[str, Stage]:
        """Return the stage of each environment, by where it will lie on the device."""
        return {one.prefix: self.environment(tools, one) for one in wanted}

    def environment(self, tools: Stage, wanted: Environment) -> Stage:
        """A Python environment, put together from wheels."""
        recipe, programs = self.recipe, TreeTools(self.folder(tools) / TREE)
        inputs = {
            tools.label: tools.key,
            "wheels": " ".join(wheel.pinned for wheel in wanted.wheels),
            "wheels and hatserve and how they are put together": wanted.digest,
            "hatfleet code": code("environments", "tree", "tools"),
        }

        def make(at: Workplace) -> None:
            at.progress(wanted.about)
            make_environment(at.folder, wanted, tools=programs, epoch_s=recipe.suite.epoch_s, log=at.log)

        return Stage(f"environment-{Path(wanted.prefix).name}", inputs, make)

    def provision(
        self,
        tools: Stage,
        bootstrapped: Stage,
        environments: Mapping[str, Stage],
        compiled: tuple[Stage, ...],
        drivers: tuple[KernelDriver, ...],
    ) -> Stage:
        """The image's root file system: what the roles make of the packages, sealed."""
        recipe, site, folder = self.recipe, self.site, self.folder(bootstrapped)
        archives = {prefix: self.folder(stage) / ARCHIVE for prefix, stage in environments.items()}
        package = Path(hatfleet.__file__).parent
        layout = recipe.layout.place(Identity.of(recipe.name).disk)
        inputs = {
            tools.label: tools.key,
            bootstrapped.label: bootstrapped.key,
            **{stage.label: stage.key for stage in environments.values()},
            "name": recipe.name,
            "version": recipe.version,
            "platform": recipe.platform.name,
            "options": recipe.options.model_dump_json(),
            "order of roles": " ".join(role.name for role in recipe.roles),
            "identifiers of partitions": " ".join(placed.partuuid for placed in layout.partitions),
            "allow": recipe.allow.model_dump_json(),
            "operations": digest_tree(package / "ops", package / "fleet" / "connectors", package / "fleet" / "engine"),
            "hatfleet code": code("provision", "seal", "tree", "platforms", "gate", *FILES),
        }
        if compiled:
            inputs |= {stage.label: stage.key for stage in compiled}
            inputs["drivers"] = code("modules", "files/install-driver.sh")
        for role in recipe.roles:
            inputs[f"role {role.name}"] = role_code(load_role_info(site, role.name).path)
            inputs[f"settings of {role.name}"] = settings_digest(role.settings)

        def make(at: Workplace) -> None:
            provision(
                at.folder,
                bootstrap=folder,
                native=self.folder(tools) / TREE,
                compiled=CompiledDrivers(drivers, *(self.folder(stage) for stage in compiled)) if compiled else None,
                environments=archives,
                recipe=recipe,
                layout=layout,
                site=site,
                log=at.log,
                progress=at.progress,
            )

        return Stage("provision", inputs, make)

    def checks(self, tools: Stage, provisioned: Stage) -> Stage:
        """What the roles' controls say of the finished root file system."""
        recipe, site, folder = self.recipe, self.site, self.folder(provisioned)
        package = Path(hatfleet.__file__).parent
        inputs = {
            tools.label: tools.key,
            provisioned.label: provisioned.key,
            "compliance": digest_tree(package / "compliance", package / "fleet" / "connectors"),
            "hatfleet code": code("checks", "seal", "tree"),
        }
        for role in recipe.roles:
            inputs[f"checks of {role.name}"] = checks_code(site, role.name)

        def make(at: Workplace) -> None:
            check_image(
                at.folder,
                provisioned=folder,
                native=self.folder(tools) / TREE,
                recipe=recipe,
                site=site,
                log=at.log,
                progress=at.progress,
            )

        return Stage("checks", inputs, make)

    def system(self, tools: Stage, provisioned: Stage) -> Stage:
        """The system partition: EROFS and its hash tree."""
        recipe, folder, programs = self.recipe, self.folder(provisioned), TreeTools(self.folder(tools) / TREE)
        inputs = {
            tools.label: tools.key,
            provisioned.label: provisioned.key,
            "size": str(recipe.layout.system_mib),
            "hatfleet code": code("system", "tools"),
        }

        def make(at: Workplace) -> None:
            at.progress("EROFS and dm-verity")
            archive, epoch_s = folder / ARCHIVE, recipe.suite.epoch_s
            make_system(at.folder, archive=archive, name=recipe.name, epoch_s=epoch_s, tools=programs, log=at.log)
            require_room(recipe, "system_mib", -(-(at.folder / SYSTEM_IMAGE).stat().st_size // disk.MIB))

        return Stage("system", inputs, make)

    def boot(self, tools: Stage, kernel: Stage, provisioned: Stage, system: Stage) -> Stage:
        """The contents of the partitions that the firmware reads."""
        recipe, programs = self.recipe, TreeTools(self.folder(tools) / TREE)
        identity = Identity.of(recipe.name)
        inputs = {
            tools.label: tools.key,
            kernel.label: kernel.key,
            provisioned.label: provisioned.key,
            system.label: system.key,
            "size": str(recipe.layout.boot_mib),
            "secure boot key": trusted_key(recipe),
            "hatfleet code": code("bootstage", "fat", "tools", "bootfiles", "platforms"),
        }

        def make(at: Workplace) -> None:
            make_bootcfg(at.folder, recipe=recipe, identity=identity, tools=programs, log=at.log)
            make_boot(
                at.folder,
                recipe=recipe,
                identity=identity,
                kernel=self.folder(kernel) / BOOT_FILES,
                provisioned=self.folder(provisioned),
                verity=read_verity(self.folder(system)),
                tools=programs,
                log=at.log,
            )

        return Stage("boot", inputs, make)

    def disk(self, boot: Stage, system: Stage) -> Stage:
        """The whole disk."""
        recipe = self.recipe
        layout = recipe.layout.place(Identity.of(recipe.name).disk)
        boot_folder, system_folder = self.folder(boot), self.folder(system)
        inputs = {
            boot.label: boot.key,
            system.label: system.key,
            "layout": f"{layout}",
            "hatfleet code": code("disk", "data"),
        }

        def make(at: Workplace) -> None:
            contents = {
                "bootcfg": boot_folder / BOOTCFG_IMAGE,
                "boot_a": boot_folder / BOOT_IMAGE,
                "system_a": system_folder / SYSTEM_IMAGE,
            }
            disk.write_disk(at.folder / DISK_IMAGE, layout, contents, blank_data())
            with (at.folder / DISK_IMAGE).open("rb") as image:
                digest = hashlib.file_digest(image, "sha256").hexdigest()
            (at.folder / DISK_SHA256).write_text(f"{digest}\n")

        return Stage("disk", inputs, make)
