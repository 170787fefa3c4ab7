"""Operations that only this role needs: each compares the whole of something in one command, and mends it in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hatfleet.ops import Command, Note, PathRead, ShellRead, Steps, is_live, operation, quote
from hatfleet.ops.reads import PathState, UnitRead

#: The ruleset without counters and without the addresses that the rate limit remembers.
LIST_RULESET = "nft --stateless --terse list ruleset"


@operation(affects=(ShellRead,))
def loaded_ruleset(*, path: str) -> Steps:
    """Have the kernel's packet filter be exactly what a file says.

    The file is loaded in a network namespace of its own and listed there, so the kernel itself says what it means.
    """
    if not is_live():
        return
    script = f"nft -f {quote(path)} && {LIST_RULESET}"
    state = yield ShellRead(
        f"command -v nft >/dev/null && [ -f {quote(path)} ] && wanted=$(unshare --net sh -c {quote(script)}) && "
        f'[ "$({LIST_RULESET})" = "$wanted" ] && echo same || echo different'
    )
    if state == ["same"]:
        return
    yield Note(path, "load: the packet filter in the kernel is another one")
    yield Command(f"nft -f {quote(path)}")


@operation(affects=(ShellRead,))
def interface_sysctls(*, values: Mapping[str, Mapping[str, int]]) -> Steps:
    """Have kernel parameters on every network interface there is now.

    Args:
        values: By protocol ("ipv4", "ipv6"; one that the kernel does not have is skipped), value by key.
    """
    if not is_live():
        return
    wanted = {(protocol, key): value for protocol, keys in values.items() for key, value in keys.items()}
    patterns = " ".join(f"/proc/sys/net/{protocol}/conf/*/{key}" for protocol, key in wanted)
    wrong: list[tuple[str, int]] = []
    lines = yield ShellRead(f"grep -H '' {patterns} 2>/dev/null || true")
    for line in lines:
        path, _, now = line.rpartition(":")
        parts = path.split("/")
        if int(now) != wanted[parts[4], parts[7]]:
            wrong.append((path, wanted[parts[4], parts[7]]))
    if not wrong:
        return
    for path, value in wrong:
        yield Note(path, f"→ {value}")
    yield Command("; ".join(["set -e", *(f"echo {value} >{quote(path)}" for path, value in wrong)]))


@operation(affects=(UnitRead, ShellRead))
def masked_units(*, names: Sequence[str]) -> Steps:
    """Have units that cannot be started by anybody, whether they exist yet or not, and are not running now."""
    patterns = quote(*(name.replace("@.", "@*.") for name in names))
    show = f"systemctl list-units --plain --no-legend --state=active,activating {patterns}"
    masked, listed = yield (
        ShellRead("find /etc/systemd/system -maxdepth 1 -lname /dev/null -printf '%f\\n'"),
        ShellRead(show if is_live() else "true"),
    )
    unmasked = [name for name in names if name not in masked]
    active = [line.split()[0] for line in listed]
    if not unmasked and not active:
        return
    for name in unmasked:
        yield Note(name, "mask")
    for name in active:
        yield Note(name, "stop")
    commands = []
    if unmasked:
        # A unit file of that name here would keep systemctl from masking it.
        files = quote(*(f"/etc/systemd/system/{name}" for name in unmasked))
        commands += [f"rm -f -- {files}", f"systemctl mask {quote(*unmasked)}"]
    if active:
        commands.append(f"systemctl stop {quote(*active)}")
    yield Command("; ".join(["set -e", *commands]))


@operation()
def pam_profile(*, profile: str, line: str) -> Steps:
    """Have a profile of /usr/share/pam-configs in every session, interactive or not.

    Args:
        profile: Name of the profile's file.
        line: A part of the session line that the profile brings.
    """
    stacks = ("/etc/pam.d/common-session", "/etc/pam.d/common-session-noninteractive")
    with_line = yield ShellRead(f"grep -lF {quote(line, *stacks)} || true")
    missing = sorted(set(stacks) - set(with_line))
    if not missing:
        return
    for stack in missing:
        yield Note(stack, f"enable profile {profile}")
    # With --force also over changes made by hand, which would keep pam-auth-update from writing the stacks.
    enable = f"DEBIAN_FRONTEND=noninteractive pam-auth-update --force --enable {quote(profile)}"
    yield Command(" && ".join([enable, *(f"grep -qF {quote(line, stack)}" for stack in stacks)]))


@operation(affects=(PathRead, ShellRead))
def rights(*, paths: Mapping[str, tuple[str, str, str]]) -> Steps:
    """Have mode, owner and group on those of the paths that exist.

    Args:
        paths: Path: octal mode with four digits, owner, group.
    """
    states: tuple[PathState, ...] = yield tuple(PathRead(path) for path in paths)
    commands: list[str] = []
    for (path, wanted), now in zip(paths.items(), states, strict=True):
        if now.kind not in ("absent", "link") and (now.mode, now.owner, now.group) != wanted:
            yield Note(path, f"{now.mode} {now.owner}:{now.group} → {wanted[0]} {wanted[1]}:{wanted[2]}")
            commands.append(
                f"chown {quote(f'{wanted[1]}:{wanted[2]}')} {quote(path)} && chmod {wanted[0]} {quote(path)}"
            )
    if not commands:
        return
    yield Command(" && ".join(commands))


@operation(affects=(PathRead, ShellRead))
def setid_programs(*, allowed: Sequence[str]) -> Steps:
    """Have no file with a set-user-id or set-group-id bit but the allowed ones, on any disk of the system."""
    # The root, too, where it is an overlay over what lies on a disk.
    roots = "$({ echo /; findmnt --real -rno TARGET; } | sort -u)" if is_live() else "/"
    found = yield ShellRead(f"find {roots} -xdev -type f -perm /6000 -print 2>/dev/null || true")
    extra = sorted(set(found) - set(allowed))
    if not extra:
        return
    for path in extra:
        yield Note(path, "remove the set-user-id and set-group-id bits")
    yield Command(f"chmod a-s {quote(*extra)}")
