"""Stands in for ``python -m hatfleet.fleet.engine.declare``: reads a job, prints one operation a role and host.

With an argument it misbehaves as the argument says.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any


def operations(host: dict[str, Any], manner: str) -> list[dict[str, str]]:
    found = []
    for role in host["roles"]:
        said = json.dumps(role["settings"], sort_keys=True)
        if manner == "hashes" and role["name"] == "door":
            said += str(hash("the hash of text differs from process to process"))
        for half in ("image", "device"):
            digest = hashlib.sha256(said.encode()).hexdigest()
            found.append({"role": role["name"], "half": half, "name": f"the file of {role['name']}", "digest": digest})
    odd = os.environ["PYTHONHASHSEED"] == "1"
    return found[::-1] if manner == "order" and odd else found[: 1 if manner == "less" and odd else None]


def main(manner: str = "") -> None:
    job = json.load(sys.stdin)
    if manner == "broken":
        sys.exit("role door does not load")
    if manner == "refused":
        sys.stderr.write("roles/door/__init__.py: the role does not load\n")
        sys.exit(2)
    if manner == "babbling":
        print("hello")
    errors = []
    hosts = {}
    for host in job["hosts"]:
        if manner == "failing" and host["name"] != "edge03":
            errors.append({"host": host["name"], "role": "door", "message": "UndefinedError: 'x' is undefined"})
        else:
            hosts[host["name"]] = operations(host, manner)
    json.dump({"hosts": hosts, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
