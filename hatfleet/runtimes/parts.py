"""What of the wheels a device does not need."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

#: Stands for every package.
ANY = "*"


@dataclass(frozen=True)
class Part:
    """Files that are left out of the environment."""

    package: str
    """Normalised name of the distribution, or ANY."""
    patterns: tuple[str, ...]
    """Shell patterns of paths in site-packages; ``*`` also crosses folders."""
    reason: str


#: Each was left out, and the runtimes then ran a model (tests/system/test_runtimes.py). Sizes are those of arm64.
LEFT_OUT: tuple[Part, ...] = (
    Part(
        "ai-edge-litert",
        ("ai_edge_litert/libLiteRtWebGpuAccelerator.so",),
        "16 MiB: runs models on graphics processors through WebGPU, of which no device has a usable one",
    ),
    Part(
        "ai-edge-litert",
        ("ai_edge_litert/aot/*", "ai_edge_litert/tools/*"),
        "compiles and measures models, which is done elsewhere",
    ),
    Part(
        "onnxruntime",
        ("onnxruntime/capi/libonnxruntime.so.*",),
        "24 MiB: the library for programs in C; the module for Python has all of it inside",
    ),
    Part(
        "onnxruntime",
        (
            "onnxruntime/backend/*",
            "onnxruntime/datasets/*",
            "onnxruntime/quantization/*",
            "onnxruntime/tools/*",
            "onnxruntime/transformers/*",
        ),
        "makes and changes models, which is done elsewhere; most of it needs packages that are not here",
    ),
    Part("numpy", ("numpy/f2py/*",), "compiles Fortran"),
    Part("numpy", ("numpy/_pyinstaller/*", "numpy/conftest.py"), "helps other programs to pack and to test numpy"),
    Part(ANY, ("*/tests/*", "*/testdata/*"), "tests of the packages"),
    Part(ANY, ("*.pyi", "*.pxd", "*.h", "*.a"), "read by compilers and type checkers only"),
)


def left_out(package: str, path: str) -> bool:
    """Whether a file of a package is left out; licences never are."""
    if ".dist-info/" in path:
        return False
    return any(
        part.package in (package, ANY) and any(fnmatchcase(path, pattern) for pattern in part.patterns)
        for part in LEFT_OUT
    )
