"""Proofs of what the role harden guarantees about files, read from the running device."""

from __future__ import annotations

import functools
from typing import Any

from hatfleet.compliance import agree, control, none_of, words

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


@control(
    "HF-HARDEN-060",
    "Files that matter have the declared owner and mode",
    refs=[f"{CIS} {n}" for n in ("7.1.1", "7.1.3", "7.1.5", "7.1.7", "7.1.10", "5.1.1", "5.1.2", "2.4.1.2", "2.4.1.7")]
    + ["dev-sec linux-baseline os-02, os-03", f"{ETSI} 5.4-1"],
)
def test_rights(host: Any, settings: Any) -> None:
    declared = settings.files.rights()
    text = host.run(f"LC_ALL=C stat -Lc '%04a %U %G %n' {' '.join(declared)} 2>/dev/null").stdout
    found = {line[3]: " ".join(line[:3]) for line in words(text)}
    wanted = {path: " ".join(declared[path]) for path in found}
    assert {"/etc/passwd", "/etc/shadow", "/etc/sudoers"} <= found.keys(), "account files are missing"
    agree(found, wanted, "mode, owner and group")


#: All file systems that lie on a disk, each searched once; the root, too, where it is an overlay over one.
FIND_ROOTS = "$({ echo /; findmnt --real -rno TARGET; } | sort -u)"

#: What is looked for, by the word that find(1) prints before the path. The last says that the search worked.
SETID, WRITABLE, STRAY, SEEN = "setid", "writable", "stray", "seen"


@functools.cache
def searched(host: Any) -> dict[str, list[str]]:
    """Return what one walk through all files found, paths by word: two would cost twice the time.

    Owners are compared with the numbers of all accounts and groups: -nouser asks for the name of every single file.
    """
    known = [
        " -o ".join(f"{option} {number}" for number in host.check_output(f"getent {file} | cut -d: -f3").split())
        for option, file in (("-uid", "passwd"), ("-gid", "group"))
    ]
    conditions = {
        SETID: "-type f -perm /6000",
        WRITABLE: r"-type f -perm -0002 -o -type d -perm -0002 ! -perm -1000",
        STRAY: rf"! \( {known[0]} \) -o ! \( {known[1]} \)",
        SEEN: "-path /etc/passwd",
    }
    each = " , ".join(rf"\( \( {test} \) -printf '{word} %p\n' \)" for word, test in conditions.items())
    found: dict[str, list[str]] = {word: [] for word in conditions}
    for line in host.check_output(f"find {FIND_ROOTS} -xdev {each} 2>/dev/null || true").splitlines():
        word, _, path = line.partition(" ")
        found.setdefault(word, []).append(path)
    assert found[SEEN] == ["/etc/passwd"], "the search did not come to /etc/passwd: it did not work"
    return found


@control(
    "HF-HARDEN-061",
    "Only allowed programs run with the rights of another user",
    refs=[f"{CIS} 7.1.13", "dev-sec linux-baseline os-06", f"{ETSI} 5.6-7"],
)
def test_setid(host: Any, settings: Any) -> None:
    found = searched(host)[SETID]
    assert "/usr/bin/sudo" in found, "the search found not even sudo: it did not work"
    none_of(set(found) - set(settings.files.setid_allowed), "set-user-id or set-group-id programs not allowed")


@control(
    "HF-HARDEN-062",
    "Nothing can be changed by everybody, and everything has an owner",
    refs=[f"{CIS} 7.1.11", f"{CIS} 7.1.12"],
)
def test_world_writable(host: Any) -> None:
    found = searched(host)
    none_of({*found[WRITABLE], *found[STRAY]}, "writable by everybody, or without owner")
