"""Verifying a release without a network: signatures, digests, and what is inside the image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import zstandard

from hatfleet.common.errors import HatfleetError, InputError
from hatfleet.common.progress import step
from hatfleet.image.bmap import read_bmap
from hatfleet.image.release.blockmap import check_block_map
from hatfleet.image.release.contents import require_tools
from hatfleet.image.release.inside import check_inside
from hatfleet.image.release.manifest import MANIFEST, SIGNATURE, Artefact, Kind, Manifest, parse_manifest
from hatfleet.image.release.report import Checks, Outcome, Report
from hatfleet.image.release.signing import PublicKey, verify_signature

_FETCH_HINT = "fetch the release again, or build it again"

_CHUNK_BYTES = 1024 * 1024

#: Of a zstd frame, the largest window that is given memory; the program zstd has the same bound without --long.
_MAX_WINDOW_BYTES = 128 * 1024 * 1024


def verify_release(path: Path, key: PublicKey | None) -> Report:
    """Verify a release.

    Args:
        path: The folder; or one file of it, which is then verified with the manifest beside it, and no other file.
        key: Signatures must be there and be its; without one, it is only said whether there are any.

    Raises:
        InputError: there is no such file or no manifest, or a program is missing.
    """
    if not path.exists():
        raise InputError(f"there is no file or folder {path}", hint="provision image build makes out/NAME/")
    folder, only = (path, None) if path.is_dir() else (path.parent, path.name)
    if not (folder / MANIFEST).is_file():
        raise InputError(f"there is no {MANIFEST} in {folder}", hint="it says what the files must be: fetch it, too")
    require_tools()
    checks = Checks()
    # Read once: what is parsed is what was signed.
    data = (folder / MANIFEST).read_bytes()
    _check_signature(folder / MANIFEST, data, key, checks)
    manifest = _parse(data, folder, checks)
    if manifest:
        _check_files(folder, manifest, only, key, checks)
    release = f"{manifest.name} {manifest.version}" if manifest else str(folder)
    return Report(release, folder, key.file if key else None, tuple(checks.found))


def _parse(data: bytes, folder: Path, checks: Checks) -> Manifest | None:
    with checks.check(MANIFEST, "can be read"):
        return parse_manifest(data, folder / MANIFEST)
    return None


def _check_files(folder: Path, manifest: Manifest, only: str | None, key: PublicKey | None, checks: Checks) -> None:
    names = _chosen(manifest, only)
    provenance = _present(folder, manifest, Kind.PROVENANCE, names)
    if provenance:
        _check_signature(provenance, provenance.read_bytes(), key, checks)
    with step(f"digests of {len(names)} files") as current:
        for name in names:
            with checks.check(name, "is as built"):
                _check_artefact(folder / name, manifest.artefacts[name], current.update)
    if only is None:
        _check_nothing_else(folder, manifest, checks)
    if compressed := _present(folder, manifest, Kind.COMPRESSED, names):
        with checks.check(compressed.name, "holds the image"), step(f"decompressing {compressed.name}") as current:
            _check_compressed(compressed, manifest.artefacts[manifest.image], current.update)
    image = folder / manifest.image
    if image.name not in names or not image.is_file():
        return
    if block_map := _present(folder, manifest, Kind.BLOCK_MAP, list(manifest.artefacts)):
        with checks.check(block_map.name, "fits the image"), step("block map"):
            check_block_map(read_bmap(block_map), image)
    with step("the inside of the image") as current:
        check_inside(image, manifest, checks, current.update)


def _chosen(manifest: Manifest, only: str | None) -> Sequence[str]:
    if only is None or only == MANIFEST:
        return list(manifest.artefacts)
    if only not in manifest.artefacts:
        raise InputError(
            f"{MANIFEST} beside it does not name {only}: it is about {', '.join(manifest.artefacts)}",
            hint="give the folder, or one of these files",
        )
    return [only]


def _present(folder: Path, manifest: Manifest, kind: Kind, names: Sequence[str]) -> Path | None:
    name = manifest.file(kind)
    return folder / name if name is not None and name in names and (folder / name).is_file() else None


def _check_signature(file: Path, data: bytes, key: PublicKey | None, checks: Checks) -> None:
    signature = file.with_name(file.name + SIGNATURE)
    if key is not None:
        with checks.check(file.name, "is signed"):
            if not signature.is_file():
                hint = "whoever builds it signs it; or the signature was left behind when it was copied"
                raise HatfleetError(f"it is not signed: there is no {signature.name}", hint=hint)
            verify_signature(data, signature.read_bytes(), key)
    elif signature.is_file():
        hint = "give the public key: --key FILE, or keys/image-signing.pub in the site"
        checks.add(file.name, "is signed", Outcome.NOT_CHECKED, "there is a signature, but no key to check it", hint)
    else:
        message = "it is not signed: digests show accidents, not who built it"
        checks.add(file.name, "is signed", Outcome.NOT_CHECKED, message)


def _check_artefact(file: Path, expected: Artefact, progress: Callable[[str], None]) -> None:
    if not file.is_file():
        raise HatfleetError("it is missing", hint=_FETCH_HINT)
    size = file.stat().st_size
    if size != expected.size_bytes:
        what = "truncated" if size < expected.size_bytes else "too long"
        raise HatfleetError(f"it is {what}: {size} bytes, not {expected.size_bytes}", hint=_FETCH_HINT)
    found = Artefact.of(file, lambda count: progress(f"{file.name}, {_percent(count, size)}"))
    if found.sha256 != expected.sha256:
        raise HatfleetError(f"it was changed: its sha256 is {found.sha256}, not {expected.sha256}", hint=_FETCH_HINT)


def _check_nothing_else(folder: Path, manifest: Manifest, checks: Checks) -> None:
    known = {MANIFEST, MANIFEST + SIGNATURE, *manifest.artefacts}
    if provenance := manifest.file(Kind.PROVENANCE):
        known.add(provenance + SIGNATURE)
    with checks.check("the folder", "holds nothing else"):
        if extra := sorted(path.name for path in folder.iterdir() if path.name not in known):
            raise HatfleetError(f"{MANIFEST} does not name {', '.join(extra)}", hint="remove it: nobody vouches for it")


def _check_compressed(file: Path, image: Artefact, progress: Callable[[str], None]) -> None:
    digest, size = hashlib.sha256(), 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    try:
        with file.open("rb") as handle, decompressor.stream_reader(handle, read_across_frames=True) as reader:
            # No further than one chunk too far: a small file can hold a very long one.
            while size <= image.size_bytes and (chunk := reader.read(_CHUNK_BYTES)):
                digest.update(chunk)
                size += len(chunk)
                progress(_percent(size, image.size_bytes))
    except zstandard.ZstdError as error:
        raise HatfleetError(f"it cannot be decompressed: {error}", hint=_FETCH_HINT) from error
    if size != image.size_bytes:
        what = "less" if size < image.size_bytes else "more"
        raise HatfleetError(f"there is {what} in it than the image's {image.size_bytes} bytes", hint=_FETCH_HINT)
    if digest.hexdigest() != image.sha256:
        raise HatfleetError("what is in it is another image: its sha256 differs", hint=_FETCH_HINT)


def _percent(count: int, total: int) -> str:
    return f"{100 * count // max(total, 1)} %"
