"""What the role runtimes guarantees, proved on the device."""

from __future__ import annotations

import functools
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatfleet.common.site import active_site
from hatfleet.compliance import agree, control, none_of, not_applicable
from hatfleet.runtimes.compose import PREFIX, TELEMETRY_VARIABLE
from hatfleet.runtimes.environment import BACKENDS, declared
from hatfleet.runtimes.target import Target

if TYPE_CHECKING:
    from hatfleet.runtimes.environment import Environment
    from roles.runtimes.settings import Settings

Host = Any

PYTHON = f"{PREFIX}/bin/python3"
VERIFY = (Path(__file__).parent / "files" / "verify.py").read_text()

ETSI = "ETSI EN 303 645"
PRIVACY = "Privacy.md of onnxruntime"

#: What compiles or links programs, as Debian and its alternatives name it.
COMPILERS = ("as", "c++", "c99", "cc", "clang", "cpp", "g++", "gcc", "gfortran", "ld", "rustc", "tcc")

#: Names of files and folders of what installs packages.
INSTALLERS = ("easy_install*", "ensurepip*", "pip", "pip[0-9]*", "pip-*", "setuptools*", "uv", "wheel", "wheel-*")

#: What each backend's package is imported as.
MODULES = {"onnx": "onnxruntime", "litert": "ai_edge_litert.interpreter", "hailo": "hailo_platform"}

#: An ONNX model that adds its input, two numbers, to itself.
MODEL = "CAgSADo9Cg4KAXgKAXgSAXkiA0FkZBIBZ1oTCgF4Eg4KDAgBEggKAggBCgIIAmITCgF5Eg4KDAgBEggKAggBCgIIAkIECgAQDQ=="

RUN_MODEL = f"""\
import base64, numpy, onnxruntime
session = onnxruntime.InferenceSession(base64.b64decode("{MODEL}"), providers=["CPUExecutionProvider"])
print(session.run(None, {{"x": numpy.ones((1, 2), numpy.float32)}})[0].tolist())
"""

#: In a network of its own in which every packet, wherever it is sent, comes through the one interface that counts it,
#: and with a home of its own: telemetry leaves a device id there before it sends anything.
ALONE = f"""\
home=$(mktemp -d); ip link set lo up && ip route add default dev lo
env -i HOME="$home" {PYTHON} -I -c {shlex.quote(RUN_MODEL)}
sed -n 's/^ *lo: *//p' /proc/net/dev | awk '{{print "packets", $10}}'
find "$home" -type f | sed 's/^/wrote /'; rm -rf "$home"
"""


def environment(settings: Settings) -> Environment:
    """Return the environment that the device should have."""
    return declared(active_site(), Target(settings.arch, settings.python), settings.backends)


@functools.cache
def verified(host: Host) -> dict[str, Any]:
    """Return what the device's own interpreter says of the environment's files; it reads them once for all controls."""
    found: dict[str, Any] = json.loads(host.check_output(f"/usr/bin/python3 -I -c {shlex.quote(VERIFY)} {PREFIX}"))
    return found


@control(
    "HF-RUN-001",
    "Every file of the environment is the one that its packages recorded, and there is no other",
    refs=[f"{ETSI} 5.7-1"],
)
def test_files(host: Host) -> None:
    none_of(verified(host)["problems"], "files of the environment that are not as recorded")


@control(
    "HF-RUN-002",
    "The environment holds exactly the locked versions, and was made from the declared sources",
    refs=[f"{ETSI} 5.3-2"],
)
def test_versions(host: Host, settings: Settings) -> None:
    wanted = environment(settings)
    found = verified(host)["versions"]
    found.pop("hatserve", None)
    locked = {wheel.name: wheel.version for wheel in wanted.wheels}
    agree(found, locked, "packages")
    none_of(found.keys() - locked.keys(), "packages that are not in the lock")
    mark = host.run(f"cat {PREFIX}/.hatfleet-tree").stdout.split("\n")[0]
    assert mark == wanted.digest, f"the environment was made from other sources: {mark or 'none'}, not {wanted.digest}"


@control("HF-RUN-003", "Nothing in the environment installs packages", refs=[f"{ETSI} 5.6-6"])
def test_no_installer(host: Host) -> None:
    names = " -o ".join(f"-name {shlex.quote(name)}" for name in INSTALLERS)
    none_of(host.check_output(f"find {PREFIX} {names}").splitlines(), "programs that install packages")


@control("HF-RUN-004", "An image holds no compiler", refs=[f"{ETSI} 5.6-6"])
def test_no_compiler(host: Host) -> None:
    if host.run("[ -e /usr/lib/hatfleet/image.json ]").rc != 0:
        not_applicable("not an image of hatfleet's: an ordinary system builds kernel modules itself")
    none_of(host.run(f"command -v {' '.join(COMPILERS)}").stdout.split(), "compilers")


@control("HF-RUN-005", "Nobody but root can change the environment", refs=[f"{ETSI} 5.6-7"])
def test_owner(host: Host) -> None:
    out = host.check_output(
        f"find {PREFIX} ! -type l '(' ! -user root -o ! -group root -o -perm /6022 ')' -printf '%p %m %u:%g\\n'"
    )
    none_of(out.splitlines(), "files that others than root can change")
    rights = host.run(f"stat -c '%U %a' {PREFIX}").stdout.strip()
    assert rights == "root 755", f"{PREFIX} has owner and mode {rights or 'none'}, wanted root 755"


@control(
    "HF-RUN-006",
    "onnxruntime's telemetry is off in every process of the environment, whatever its own variables are",
    refs=[PRIVACY, f"{ETSI} 6.1"],
)
def test_telemetry_of_the_environment(host: Host) -> None:
    say = shlex.quote(f"import os; print(os.environ.get('{TELEMETRY_VARIABLE}'))")
    for how in ("env -i", f"env -i {TELEMETRY_VARIABLE}=0", "env"):
        for flags in ("", "-I "):
            found = host.run(f"{how} {PYTHON} {flags}-c {say}").stdout.strip()
            assert found == "1", f"with `{how} python3 {flags}` {TELEMETRY_VARIABLE} is {found or 'not set'}, wanted 1"
    launcher = host.run(f"cat {PREFIX}/bin/hatserve").stdout
    assert f'os.environ["{TELEMETRY_VARIABLE}"] = "1"' in launcher, f"{PREFIX}/bin/hatserve does not set it"


@control("HF-RUN-007", "Telemetry is off for services and logins, too", refs=[PRIVACY, f"{ETSI} 6.1"])
def test_telemetry_elsewhere(host: Host) -> None:
    places = {
        "/etc/systemd/system.conf.d/50-hatfleet-runtimes.conf": f"DefaultEnvironment={TELEMETRY_VARIABLE}=1",
        "/etc/environment.d/50-hatfleet-runtimes.conf": f"{TELEMETRY_VARIABLE}=1",
        "/etc/profile.d/50-hatfleet-runtimes.sh": f"export {TELEMETRY_VARIABLE}=1",
    }
    wrong = [path for path, line in places.items() if line not in host.run(f"cat {path}").stdout.splitlines()]
    none_of(wrong, "files that do not turn telemetry off")


@control("HF-RUN-008", "systemd gives every service the variable", refs=["systemd-system.conf(5)"], needs="boot")
def test_telemetry_of_services(host: Host) -> None:
    found = host.check_output("systemctl show -p Environment --value").split()
    assert f"{TELEMETRY_VARIABLE}=1" in found, f"services get the environment {found}"


@control("HF-RUN-009", "hatserve and every declared runtime load", refs=[f"{ETSI} 5.3-2"], needs="boot")
def test_imports(host: Host, settings: Settings) -> None:
    assert set(MODULES) == set(BACKENDS)
    modules = ["hatserve", *(MODULES[backend] for backend in settings.backends)]
    # In one process, as in the service: each would load numpy by itself.
    done = host.run(f"{PYTHON} -I -c {shlex.quote('; '.join(f'import {module}' for module in modules))}")
    assert done.rc == 0, f"{', '.join(modules)} do not load: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"
    done = host.run(f"{PREFIX}/bin/hatserve --version")
    assert done.rc == 0, f"hatserve does not start: {done.stderr.strip()}"


@control(
    "HF-RUN-010",
    "onnxruntime runs a model, sends no packet and leaves no device id meanwhile",
    refs=[PRIVACY, f"{ETSI} 6.1"],
    needs="boot",
)
def test_no_packet(host: Host, settings: Settings) -> None:
    if "onnx" not in settings.backends:
        not_applicable("onnxruntime is not declared for this device")
    out = host.run(f"unshare --net sh -c {shlex.quote(ALONE)}")
    lines = out.stdout.splitlines()
    assert lines[:1] == ["[[2.0, 2.0]]"], f"the model does not run: {(out.stderr.strip().splitlines() or lines)[-1:]}"
    assert lines[1:] == ["packets 0"], f"while a model ran: {', '.join(lines[1:])}; wanted no packet and no file"
