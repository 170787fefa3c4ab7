"""A small release, made by the real programs: what `provision image verify` is tried on."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from pathlib import Path

from hatfleet.image.platforms import PLATFORMS
from hatfleet.image.release.manifest import (
    MANIFEST,
    SLOTS,
    Artefact,
    Inputs,
    Kind,
    LayoutEntry,
    Manifest,
    PackageEntry,
    PartitionEntry,
    RoleInput,
    Verity,
)

MIB = 1024 * 1024
NAME, VERSION = "tiny", "1.0"
DIGEST = "0123456789abcdef" * 2

#: More blocks than one block of hashes has room for, so that the tree has two levels.
DATA_BLOCKS = 300

MBR_SCRIPT = """label: dos
label-id: 0xcafe0102
start=2048, size=2048, type=c
start=4096, size=4096, type=c
start=8192, size=4096, type=c
start=12288, size=28672, type=f
start=14336, size=8192, type=83
start=24576, size=8192, type=83
start=34816, size=4096, type=83
"""
FAT_TYPE = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
GPT_SCRIPT = f"""label: gpt
start=2048, size=2048, type={FAT_TYPE}, name=bootcfg, uuid=00000000-0000-4000-8000-00000000000A
start=4096, size=4096, type={FAT_TYPE}, name=boot_a, uuid=00000000-0000-4000-8000-00000000000B
start=8192, size=4096, type={FAT_TYPE}, name=boot_b, uuid=00000000-0000-4000-8000-00000000000C
start=14336, size=8192, type={LINUX_TYPE}, name=system_a, uuid=00000000-0000-4000-8000-00000000000D
start=24576, size=8192, type={LINUX_TYPE}, name=system_b, uuid=00000000-0000-4000-8000-00000000000E
start=34816, size=4096, type={LINUX_TYPE}, name=data, uuid=00000000-0000-4000-8000-00000000000F
"""
#: Name, number in an MBR, number in a GPT, first sector, sectors.
PARTITIONS = (
    ("bootcfg", 1, 1, 2048, 2048),
    ("boot_a", 2, 2, 4096, 4096),
    ("boot_b", 3, 3, 8192, 4096),
    ("system_a", 5, 4, 14336, 8192),
    ("system_b", 6, 5, 24576, 8192),
    ("data", 7, 6, 34816, 4096),
)
BOOT_AT, SYSTEM_AT = 4096 * 512, 14336 * 512
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "MTOOLSRC": "/dev/null"}


def tool(*command: str | Path, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, text=True, check=True, capture_output=True, env=ENVIRONMENT)
    return done.stdout


def make_system(path: Path, blocks: int = DATA_BLOCKS) -> str:
    """Write data with its hash tree behind it, and return the root hash."""
    path.write_bytes(b"".join(hashlib.sha256(bytes([n % 251, n // 251])).digest() * 128 for n in range(blocks)))
    size = path.stat().st_size
    options = ["--salt", "aa" * 32, "--uuid", "11111111-2222-3333-4444-555555555555"]
    said = tool("veritysetup", "format", path, path, f"--hash-offset={size}", f"--data-blocks={blocks}", *options)
    return next(line.split()[-1] for line in said.splitlines() if line.startswith("Root hash"))


def make_fat(path: Path, files: dict[str, bytes], size_bytes: int) -> None:
    with path.open("wb") as handle:
        handle.truncate(size_bytes)
    tool("mkfs.vfat", "--invariant", path)
    for name, content in files.items():
        source = path.with_name(f"{path.name}.{name}")
        source.write_bytes(content)
        tool("mcopy", "-i", path, source, f"::/{name}")


def command_line(slot: str, root_hash: str) -> str:
    return f"console=ttyAMA0 root=/dev/mapper/root roothash={root_hash} hatfleet.slot={slot} panic=10"


def make_release(
    folder: Path, work: Path, *, table: str = "mbr", secure_boot: bool = False, platform: str = "virt"
) -> Manifest:
    """Make a release in ``folder``, with what is in between in ``work``."""
    folder.mkdir()
    work.mkdir()
    root_hash = make_system(work / "system")
    one_for_both = not PLATFORMS[platform].slot_filter
    lines = {slot: command_line("firmware" if one_for_both else slot, root_hash) for slot in SLOTS}
    names = {slot: "cmdline.txt" if one_for_both else f"cmdline-{slot}.txt" for slot in SLOTS}
    files = {names[slot]: f"{line}\n".encode() for slot, line in lines.items()}
    files["config.txt"] = b"kernel=vmlinuz\n"
    make_fat(work / "boot", files, 2 * MIB)
    if secure_boot:
        make_fat(work / "boot.img", files, MIB)
        inner = (work / "boot.img").read_bytes()
        signature = f"{hashlib.sha256(inner).hexdigest()}\nts: 1754697600\nrsa2048: {'00' * 256}\n".encode()
        outer = {"config.txt": b"boot_ramdisk=1\n", "boot.img": inner, "boot.sig": signature}
        make_fat(work / "boot", outer, 2 * MIB)
    make_fat(work / "bootcfg", {"autoboot.txt": b"[all]\ntryboot_a_b=1\nboot_partition=2\n"}, MIB)
    file = {kind: folder / kind.of(NAME, VERSION) for kind in Kind}
    with file[Kind.IMAGE].open("wb") as handle:
        handle.truncate(20 * MIB)
    tool("sfdisk", "--quiet", file[Kind.IMAGE], stdin=MBR_SCRIPT if table == "mbr" else GPT_SCRIPT)
    for name, offset in (("bootcfg", MIB), ("boot", BOOT_AT), ("system", SYSTEM_AT)):
        put(file[Kind.IMAGE], offset, (work / name).read_bytes())
    file[Kind.BOOT].write_bytes((work / "boot").read_bytes())
    file[Kind.SYSTEM].write_bytes((work / "system").read_bytes())
    file[Kind.CYCLONEDX].write_text("{}\n")
    file[Kind.SPDX].write_text("{}\n")
    file[Kind.FILES].write_bytes(gzip.compress(b"[]\n", mtime=0))
    file[Kind.PROVENANCE].write_text('{"_type": "https://in-toto.io/Statement/v1"}\n')
    pack(file[Kind.IMAGE])
    manifest = describe(folder, table, root_hash, lines, platform)
    (folder / MANIFEST).write_text(manifest.text())
    return manifest


def put(image: Path, offset: int, content: bytes) -> None:
    """Write into an image, leaving holes where there are only zeros."""
    with image.open("r+b") as handle:
        for at in range(0, len(content), 4096):
            if piece := content[at : at + 4096].rstrip(b"\0"):
                handle.seek(offset + at)
                handle.write(piece)


def pack(image: Path) -> None:
    """Make what belongs to an image: compressed, and its block map."""
    tool("zstd", "-q", "-f", "-3", image, "-o", image.with_name(f"{image.name}.zst"))
    os.sync()
    tool("bmaptool", "--quiet", "create", image, "-o", image.with_name(f"{image.name}.bmap"))


def describe(folder: Path, table: str, root_hash: str, lines: dict[str, str], platform: str = "virt") -> Manifest:
    def partuuid(number: int) -> str:
        return f"cafe0102-{number:02d}" if table == "mbr" else f"00000000-0000-4000-8000-{9 + number:012x}"

    numbers = [(name, mbr if table == "mbr" else gpt, start, size) for name, mbr, gpt, start, size in PARTITIONS]
    partitions = tuple(
        PartitionEntry(
            name=name,
            number=number,
            start_bytes=start * 512,
            size_bytes=size * 512,
            partuuid=partuuid(number),
            used_bytes=0,
        )
        for name, number, start, size in numbers
    )
    artefacts = {path.name: Artefact.of(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    image = Kind.IMAGE.of(NAME, VERSION)
    return Manifest(
        name=NAME,
        version=VERSION,
        platform=platform,
        arch="arm64",
        suite="trixie",
        build=DIGEST,
        image=image,
        sha256=artefacts[image].sha256,
        admin_user="admin",
        inputs=Inputs(
            recipe=DIGEST, lock=None, roles={"base": RoleInput(code=DIGEST, settings=DIGEST)}, tools={"hatfleet": "0"}
        ),
        packages=(PackageEntry(name="bash", version="5.2.37-2", arch="arm64"),),
        layout=LayoutEntry(table="mbr" if table == "mbr" else "gpt", partitions=partitions),
        verity=Verity(root_hash=root_hash, hash_offset_bytes=DATA_BLOCKS * 4096),
        command_lines={"a": lines["a"], "b": lines["b"]},
        stage_seconds={"bootstrap": 1.5},
        artefacts=artefacts,
    )
