"""Proofs of what the role harden guarantees about the network, read from the running device."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

from hatfleet.compliance import agree, control, none_of, words

CIS = "CIS Debian 12 v1.1.0"
ETSI = "ETSI EN 303 645"


def ruleset(host: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return base chains by hook, and all rules, of the packet filter in the kernel."""
    entries = json.loads(host.check_output("nft --json list ruleset"))["nftables"]
    chains = {e["chain"]["hook"]: e["chain"] for e in entries if "hook" in e.get("chain", {})}
    return chains, [e["rule"] for e in entries if "rule" in e]


@control(
    "HF-HARDEN-030",
    "The packet filter denies what is not declared, in and through",
    refs=[f"{CIS} 4.3.4", f"{CIS} 4.3.5", f"{CIS} 4.3.8", f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_firewall_policy(host: Any, settings: Any) -> None:
    chains, _ = ruleset(host)
    found = {hook: chain.get("policy", "accept") for hook, chain in chains.items()}
    out = "accept" if settings.firewall.output_open else "drop"
    agree(found, {"input": "drop", "forward": "drop", "output": out}, "policies")


def ports(value: Any) -> Iterator[int]:
    """Yield the ports that a match of nft's JSON names."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict) and "set" in value:
        for item in value["set"]:
            yield from ports(item)
    elif isinstance(value, dict) and "range" in value:
        yield from range(value["range"][0], value["range"][1] + 1)
    else:
        raise AssertionError(f"a rule matches ports in a way that this check cannot judge: {value}")


@control(
    "HF-HARDEN-031",
    "Exactly the declared ports are open",
    refs=[f"{CIS} 4.3.6", f"{CIS} 4.3.7", f"{ETSI} 5.6-1"],
    needs="boot",
)
def test_firewall_ports(host: Any, settings: Any) -> None:
    chains, rules = ruleset(host)
    opened: dict[str, set[int]] = {"tcp": set(), "udp": set()}
    for rule in rules:
        verdicts = [e for e in rule["expr"] if {"accept", "jump", "goto"} & e.keys()]
        if rule["chain"] != chains.get("input", {}).get("name") or not verdicts:
            continue
        matches = [e["match"] for e in rule["expr"] if "match" in e]
        assert matches, "the input chain accepts everything: a rule has no condition"
        for match in matches:
            field = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
            if field.get("field") == "dport":
                opened.setdefault(field["protocol"], set()).update(ports(match["right"]))
    declared = settings.firewall.open_ports()
    for protocol, now in opened.items():
        wanted = declared.get(protocol, set())
        assert now == wanted, f"open {protocol} ports are {sorted(now)}, declared are {sorted(wanted)}"


@control(
    "HF-HARDEN-032",
    "The packet filter in the kernel is exactly the one that is loaded at boot",
    refs=[f"{CIS} 4.3.9", f"{CIS} 4.3.10", f"{CIS} 4.1.1"],
    needs="boot",
)
def test_firewall_permanent(host: Any) -> None:
    enabled = host.run("systemctl is-enabled nftables.service").stdout.strip()
    assert enabled == "enabled", f"nftables.service is {enabled}, wanted enabled"
    listing = "nft --stateless --terse list ruleset"
    now = host.check_output(listing)
    boot = host.check_output(f"unshare --net sh -c 'nft -f /etc/nftables.conf && {listing}'")
    differing = set(now.splitlines()) ^ set(boot.splitlines())
    none_of({line.strip() for line in differing}, "lines that differ between the kernel and /etc/nftables.conf")
    assert now == boot, "the rules in the kernel stand in another order than in /etc/nftables.conf"


@control(
    "HF-HARDEN-033",
    "No program waits for connections on a port that is not declared",
    refs=[f"{CIS} 2.1.22", f"{ETSI} 5.6-1", f"{ETSI} 5.5-5"],
    needs="boot",
)
def test_listening(host: Any, settings: Any) -> None:
    declared = settings.firewall.open_ports()
    extra = []
    for line in words(host.check_output("ss -H -l -n -t -u -p")):
        address, _, port = line[4].rpartition(":")
        bare = address.strip("[]").partition("%")[0]
        if bare != "*" and ipaddress.ip_address(bare).is_loopback:
            continue
        if int(port) not in declared.get(line[0], set()):
            program = "".join(re.findall(r'"([^"]+)"', line[-1])[:1])
            extra.append(f"{line[0]} {line[4]} ({program or 'unknown program'})")
    none_of(extra, "waiting for connections")
