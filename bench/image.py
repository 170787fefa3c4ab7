"""What an image costs: ``python -m bench.image``, as root, a quarter of an hour.

Builds a minimal image (images/edge-virt.yaml with the roles base, harden and governor) in an empty cache, again with
nothing changed, with a changed template of a role, and with one small package more; beside it, in the same run,
mmdebstrap makes a bare root file system of the same package list, which is what every such image is made from, and
mkosi a folder of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.command import end_with, scratch, write_result
from bench.tables import print_table
from hatfleet.common.errors import HatfleetError
from hatfleet.common.progress import say
from hatfleet.common.site import Site
from hatfleet.image.recipe import Recipe, find_recipe, load_recipe
from hatfleet.image.wanted import wanted_packages

ROOT = Path(__file__).resolve().parents[1]
PROVISION = str(Path(sys.executable).parent / "provision")

RECIPE = "edge-virt"

#: What a minimal device has; runtimes and accelerator would add their own sizes and times.
ROLES = ("base", "harden", "governor")

#: The template that is changed; a comment more, as a first edit would be.
TEMPLATE = Path("harden") / "templates" / "sshd_config.j2"

#: A small package without dependencies that the image does not have.
SMALL_PACKAGE = "ed"

#: Stages that bare mmdebstrap has no part in: file systems and what is given away.
FILE_SYSTEM_STAGES = ("system", "boot", "disk", "release")

BLOCK_BYTES = 4096
MIB = 1024 * 1024


@dataclass(frozen=True)
class Build:
    """One build."""

    what: str
    wall_s: float
    stages_s: dict[str, float]
    """Seconds of the stages that ran."""


@dataclass(frozen=True)
class Bar:
    """What we ask of ourselves."""

    what: str
    measured: float
    allowed: float

    @property
    def kept(self) -> bool:
        """Whether it is kept."""
        return self.measured <= self.allowed


class Bench:
    """A site, a cache and an output folder of the measurement's own."""

    def __init__(self, folder: Path) -> None:
        self.site, self.out = folder / "site", folder / "out"
        (self.site / "images").mkdir(parents=True)
        text = (ROOT / "images" / f"{RECIPE}.yaml").read_text()
        self.recipe_file = self.site / "images" / f"{RECIPE}.yaml"
        self.recipe_file.write_text(text.replace("deploy: image", f"roles: [{', '.join(ROLES)}]"))
        shutil.copytree(ROOT / "roles" / TEMPLATE.parts[0], self.site / "roles" / TEMPLATE.parts[0])
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        self.builds: list[Build] = []

    def build(self, what: str) -> Build:
        """Build, and note how long that took."""
        say(f"{what} …")
        started = time.monotonic()
        command = [PROVISION, "image", "build", RECIPE, "-o", str(self.out)]
        done = subprocess.run(command, cwd=self.site, env=self.environment, capture_output=True, text=True, check=False)
        wall_s = time.monotonic() - started
        if done.returncode != 0:
            raise HatfleetError(f"the build ended with {done.returncode}: {done.stderr[-2000:]}")
        ran = [line.split()[1] for line in done.stderr.splitlines() if "✓" in line and "cached" not in line]
        seconds = self.manifest["stage_seconds"]
        built = Build(what, wall_s, {name: seconds[name] for name in dict.fromkeys(ran) if name in seconds})
        self.builds.append(built)
        say(f"{what}: {wall_s:.1f} s")
        return built

    @property
    def manifest(self) -> dict[str, dict[str, float]]:
        """The manifest of the newest build."""
        found: dict[str, dict[str, float]] = json.loads((self.out / RECIPE / "manifest.json").read_text())
        return found

    def artefact(self, suffix: str) -> Path:
        """Return a file of the newest build."""
        return next((self.out / RECIPE).glob(f"{RECIPE}-*{suffix}"))


def bare_mmdebstrap(folder: Path, recipe: Recipe, packages: tuple[str, ...]) -> float:
    """Make a root file system of the same packages with nothing but mmdebstrap; return the seconds."""
    say("bare mmdebstrap …")
    started = time.monotonic()
    command = ["mmdebstrap", f"--architectures={recipe.platform.arch}", "--variant=apt", "--dpkgopt=force-unsafe-io"]
    command += [f"--include={','.join(packages)}", recipe.suite.name, str(folder / "bare.tar")]
    environment = {**os.environ, "INITRD": "No", "SOURCE_DATE_EPOCH": str(recipe.suite.epoch_s)}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    seconds = time.monotonic() - started
    say(f"bare mmdebstrap: {seconds:.1f} s")
    return seconds


def mkosi(folder: Path, recipe: Recipe, packages: tuple[str, ...]) -> float | None:
    """Have mkosi make a folder of the same packages; return the seconds, or None where it cannot.

    Debian 12 has version 14, whose name for arm64 is the kernel's.
    """
    place = folder / "mkosi"
    place.mkdir()
    command = ["mkosi", "--distribution=debian", f"--release={recipe.suite.name}", "--architecture=aarch64"]
    command += ["--format=directory", *(f"--package={name}" for name in packages), "build"]
    say("mkosi …")
    started = time.monotonic()
    try:
        subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"mkosi could not: {getattr(error, 'stderr', None) or error}"[-1000:])
        return None
    seconds = time.monotonic() - started
    say(f"mkosi: {seconds:.1f} s")
    return seconds


def blocks(path: Path) -> list[bytes]:
    """Return the digests' stand-in: the blocks of a file, each 4096 bytes."""
    data = path.read_bytes()
    return [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]


def changed_share(before: Path, after: Path) -> float:
    """Return the share of a file's blocks that are nowhere in the one before: what an update carries."""
    known = set(blocks(before))
    now = blocks(after)
    return sum(block not in known for block in now) / len(now)


def main() -> bool:
    """Measure, print, and write out/bench-image.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.image", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the tables as they stand in docs/benchmarks.md")
    markdown = parser.parse_args().markdown
    with scratch("image") as folder:
        bench = Bench(folder)
        site = Site(bench.site)
        recipe = load_recipe(site, find_recipe(site, RECIPE))
        packages = wanted_packages(recipe, site)
        cold = bench.build("cold, empty cache")
        bare_s = bare_mmdebstrap(folder, recipe, packages)
        mkosi_s = mkosi(folder, recipe, packages)
        nothing = bench.build("nothing changed")
        with (bench.site / "roles" / TEMPLATE).open("a") as template:
            template.write("# a comment\n")
        changed = bench.build("one template of a role changed")
        system = folder / "before.img"
        shutil.copy(bench.artefact(".system.img"), system)
        bench.recipe_file.write_text(bench.recipe_file.read_text() + f"packages: [{SMALL_PACKAGE}]\n")
        bench.build(f"one small package more ({SMALL_PACKAGE})")
        share = changed_share(system, bench.artefact(".system.img"))
        sizes = {
            "system partition (EROFS and dm-verity)": system.stat().st_size / MIB,
            "compressed download": bench.artefact(".img.zst").stat().st_size / MIB,
        }
    files_s = sum(cold.stages_s.get(name, 0) for name in FILE_SYSTEM_STAGES)
    tools_s = cold.stages_s.get("tools", 0)
    bars = [
        Bar("nothing changed, s", nothing.wall_s, 3),
        Bar("one template changed, s", changed.wall_s, 60),
        Bar("one template changed, beside cold", changed.wall_s / cold.wall_s, 0.2),
        Bar("cold, s, beside 1.6 bare mmdebstrap and the file systems", cold.wall_s, 1.6 * bare_s + files_s),
        Bar("the same without the tools tree, made once a machine", cold.wall_s - tools_s, 1.6 * bare_s + files_s),
        Bar("system partition, MiB", sizes["system partition (EROFS and dm-verity)"], 110),
        Bar("4 KiB blocks that change with a small package", share, 0.05),
    ]
    rows = [[one.what, f"{one.wall_s:.1f}", _stages(one)] for one in bench.builds]
    rows.append(["bare mmdebstrap, the same packages", f"{bare_s:.1f}", ""])
    rows.append(["mkosi, a folder of the same packages", f"{mkosi_s:.1f}" if mkosi_s else "it could not", ""])
    print_table(["build", "wall s", "stages that ran, s"], rows, words=1, markdown=markdown)
    print_table(["size", "MiB"], [[name, f"{size:.1f}"] for name, size in sizes.items()], words=1, markdown=markdown)
    judged = [[one.what, f"{one.measured:.3g}", f"{one.allowed:.3g}", "yes" if one.kept else "NO"] for one in bars]
    print_table(["bar", "measured", "allowed", "kept"], judged, words=1, markdown=markdown)
    write_result(
        "image",
        {"builds": [vars(one) for one in bench.builds], "bare_s": bare_s, "mkosi_s": mkosi_s, "share": share, **sizes},
    )
    return all(one.kept for one in bars)


def _stages(build: Build) -> str:
    return " · ".join(f"{name} {seconds:.0f}" for name, seconds in build.stages_s.items())


if __name__ == "__main__":
    end_with(main)
