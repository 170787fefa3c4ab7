"""What wheels are wanted for: a processor, a minor version of Python, a C library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

#: Debian's names of the processors that there are devices (arm64) and admins' machines (amd64) of.
Arch: TypeAlias = Literal["arm64", "amd64"]
ARCHES: tuple[str, ...] = get_args(Arch)

#: The Python of Debian 13, and the one of Debian 12, on which hatserve is tested, too.
Python: TypeAlias = Literal["3.13", "3.11"]
PYTHONS: tuple[str, ...] = get_args(Python)

#: The kernel's names of those processors, as they stand in the tags of wheels.
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}

#: Newest glibc minor version of each Python's Debian: 2.41 in Debian 13, 2.36 in Debian 12 (package libc6).
_GLIBC = {"3.13": 41, "3.11": 36}

#: The oldest glibc that a manylinux tag of the new form exists for: PEP 600, manylinux2014 is 2.17.
_OLDEST_GLIBC = 17


@dataclass(frozen=True)
class Target:
    """What wheels have to fit."""

    arch: str = "arm64"
    """One of ARCHES."""
    python: str = "3.13"
    """One of PYTHONS."""

    def __str__(self) -> str:
        return f"{self.arch} and Python {self.python}"

    @property
    def name(self) -> str:
        """Name of its files, such as arm64-py3.13."""
        return f"{self.arch}-py{self.python}"

    @property
    def machine(self) -> str:
        """The kernel's name of the processor."""
        return _MACHINES[self.arch]

    @property
    def abi(self) -> str:
        """The tag of the interpreter's binary interface, such as cp313."""
        return "cp" + self.python.replace(".", "")

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that run on it, newest first; those of wheels for any platform are understood."""
        newest = _GLIBC[self.python]
        new = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
        return (*new, f"manylinux2014_{self.machine}")

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers of requirements are compared with (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
