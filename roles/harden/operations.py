"""Operations that only this role needs: each compares the whole of something in one command, and mends it in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from hatfleet.ops import is_live, note_change, query, quote
from hatfleet.ops.base import Commands, unchanged

#: The ruleset without counters and without the addresses that the rate limit remembers.
LIST_RULESET = "nft --stateless --terse list ruleset"


@operation()
def loaded_ruleset(*, path: str) -> Commands:
    """Have the kernel's packet filter be exactly what a file says.

    The file is loaded in a network namespace of its own and listed there, so the kernel itself says what it means.
    """
    if not is_live():
        unchanged("an image has no running packet filter")
        return
    script = f"nft -f {quote(path)} && {LIST_RULESET}"
    state = query(
        f"command -v nft >/dev/null && [ -f {quote(path)} ] && wanted=$(unshare --net sh -c {quote(script)}) && "
        f'[ "$({LIST_RULESET})" = "$wanted" ] && echo same || echo different'
    )
    if state == ["same"]:
        unchanged("the loaded packet filter is the declared one")
        return
    note_change(path, "load: the packet filter in the kernel is another one")
    yield StringCommand(f"nft -f {quote(path)}")


@operation()
def interface_sysctls(*, values: Mapping[str, Mapping[str, int]]) -> Commands:
    """Have kernel parameters on every network interface there is now.

    Args:
        values: By protocol ("ipv4", "ipv6"; one that the kernel does not have is skipped), value by key.
    """
    if not is_live():
        unchanged("an image has no running kernel")
        return
    wanted = {(protocol, key): value for protocol, keys in values.items() for key, value in keys.items()}
    patterns = " ".join(f"/proc/sys/net/{protocol}/conf/*/{key}" for protocol, key in wanted)
    wrong: list[tuple[str, int]] = []
    for line in query(f"grep -H '' {patterns} 2>/dev/null || true"):
        path, _, now = line.rpartition(":")
        parts = path.split("/")
        if int(now) != wanted[parts[4], parts[7]]:
            wrong.append((path, wanted[parts[4], parts[7]]))
    if not wrong:
        unchanged("network parameters are as declared on every interface")
        return
    for path, value in wrong:
        note_change(path, f"→ {value}")
    yield StringCommand("; ".join(["set -e", *(f"echo {value} >{quote(path)}" for path, value in wrong)]))


@operation()
def masked_units(*, names: Sequence[str]) -> Commands:
    """Have units that cannot be started by anybody, whether they exist yet or not, and are not running now."""
    masked = set(query("find /etc/systemd/system -maxdepth 1 -lname /dev/null -printf '%f\\n'"))
    unmasked = [name for name in names if name not in masked]
    active: list[str] = []
    if is_live():
        patterns = quote(*(name.replace("@.", "@*.") for name in names))
        show = "systemctl list-units --plain --no-legend --state=active,activating"
        active = [line.split()[0] for line in query(f"{show} {patterns}")]
    if not unmasked and not active:
        unchanged("none of these units can start")
        return
    for name in unmasked:
        note_change(name, "mask")
    for name in active:
        note_change(name, "stop")
    commands = []
    if unmasked:
        # A unit file of that name here would keep systemctl from masking it.
        files = quote(*(f"/etc/systemd/system/{name}" for name in unmasked))
        commands += [f"rm -f -- {files}", f"systemctl mask {quote(*unmasked)}"]
    if active:
        commands.append(f"systemctl stop {quote(*active)}")
    yield StringCommand("; ".join(["set -e", *commands]))


@operation()
def pam_profile(*, profile: str, line: str) -> Commands:
    """Have a profile of /usr/share/pam-configs in every session, interactive or not.

    Args:
        profile: Name of the profile's file.
        line: A part of the session line that the profile brings.
    """
    stacks = ("/etc/pam.d/common-session", "/etc/pam.d/common-session-noninteractive")
    with_line = query(f"grep -lF {quote(line, *stacks)} || true")
    missing = sorted(set(stacks) - set(with_line))
    if not missing:
        unchanged(f"{profile} is in every session")
        return
    for stack in missing:
        note_change(stack, f"enable profile {profile}")
    # With --force also over changes made by hand, which would keep pam-auth-update from writing the stacks.
    enable = f"DEBIAN_FRONTEND=noninteractive pam-auth-update --force --enable {quote(profile)}"
    yield StringCommand(" && ".join([enable, *(f"grep -qF {quote(line, stack)}" for stack in stacks)]))


@operation()
def rights(*, paths: Mapping[str, tuple[str, str, str]]) -> Commands:
    """Have mode, owner and group on those of the paths that exist.

    Args:
        paths: Path: octal mode with four digits, owner, group.
    """
    lines = query(f"LC_ALL=C stat -c '%04a %U %G %n' {quote(*paths)} 2>/dev/null || true")
    commands: list[str] = []
    for line in lines:
        mode, owner, group, path = line.split(" ", 3)
        wanted = paths[path]
        if (mode, owner, group) != wanted:
            note_change(path, f"{mode} {owner}:{group} → {wanted[0]} {wanted[1]}:{wanted[2]}")
            commands.append(
                f"chown {quote(f'{wanted[1]}:{wanted[2]}')} {quote(path)} && chmod {wanted[0]} {quote(path)}"
            )
    if not commands:
        unchanged("rights are as declared")
        return
    yield StringCommand(" && ".join(commands))


@operation()
def setid_programs(*, allowed: Sequence[str]) -> Commands:
    """Have no file with a set-user-id or set-group-id bit but the allowed ones, on any disk of the system."""
    roots = "$(findmnt --real -rno TARGET)" if is_live() else "/"
    found = query(f"find {roots} -xdev -type f -perm /6000 -print 2>/dev/null || true")
    extra = sorted(set(found) - set(allowed))
    if not extra:
        unchanged("only allowed programs have set-id bits")
        return
    for path in extra:
        note_change(path, "remove the set-user-id and set-group-id bits")
    yield StringCommand(f"chmod a-s {quote(*extra)}")
