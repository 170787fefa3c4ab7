"""Fixed addresses in the inventory."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatfleet.common.errors import InputError
from hatfleet.fleet.inventory.load import Inventory, load_inventory
from hatfleet.fleet.network import network_of


def inventory(tmp_path: Path, network: str) -> Inventory:
    file = tmp_path / "hosts.yaml"
    file.write_text(f"all:\n  hosts:\n    edge-01:\n{network}")
    return load_inventory([file])


def declared(text: str) -> str:
    return f"      hatfleet_network:\n        eth0: {{{text}}}\n"


def test_no_variable_means_dhcp(tmp_path: Path) -> None:
    assert network_of(inventory(tmp_path, ""), "edge-01") == {}


def test_addresses_gateway_and_name_servers(tmp_path: Path) -> None:
    text = 'address: 192.0.2.10/24, gateway: 192.0.2.1, dns: [192.0.2.53, "2001:db8::53"]'
    found = network_of(inventory(tmp_path, declared(text)), "edge-01")
    assert found["eth0"].model_dump(mode="json") == {
        "address": "192.0.2.10/24",
        "gateway": "192.0.2.1",
        "dns": ["192.0.2.53", "2001:db8::53"],
    }


def test_ipv6_with_a_link_local_gateway(tmp_path: Path) -> None:
    text = 'address: "2001:db8::10/64", gateway: "fe80::1"'
    assert str(network_of(inventory(tmp_path, declared(text)), "edge-01")["eth0"].gateway) == "fe80::1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("address: 192.0.2.10", "the length of the network's prefix is needed, such as 192.0.2.10/24"),
        ("address: 192.0.2.300/24", "found '192.0.2.300/24'"),
        ("gateway: 192.0.2.1", "a value is needed"),
        ("address: 192.0.2.10/24, gateway: 198.51.100.1", "is not another address in 192.0.2.0/24"),
        ("address: 192.0.2.10/24, gateway: 192.0.2.10", "is not another address in 192.0.2.0/24"),
        ('address: 192.0.2.10/24, gateway: "fe80::1"', "is not of the address's family"),
        ("address: 192.0.2.10/24, dns: 192.0.2.53", "found '192.0.2.53'"),
        ("address: 192.0.2.10/24, gatway: 192.0.2.1", "unknown key 'gatway'"),
    ],
)
def test_mistakes_are_reported_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        network_of(inventory(tmp_path, declared(text)), "edge-01")
    errors = getattr(caught.value, "errors", (caught.value,))
    assert words in errors[0].message
    assert errors[0].where.line in (4, 5)
    assert errors[0].where.key.startswith("hatfleet_network")


@pytest.mark.parametrize("name", ["eth0/1", "0eth", "a-name-far-too-long"])
def test_a_name_that_linux_does_not_take(tmp_path: Path, name: str) -> None:
    text = f"      hatfleet_network:\n        {name}: {{address: 192.0.2.10/24}}\n"
    with pytest.raises(InputError):
        network_of(inventory(tmp_path, text), "edge-01")


def test_nothing_behind_the_variable(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        network_of(inventory(tmp_path, "      hatfleet_network:\n"), "edge-01")
    assert caught.value.hint == "remove it for DHCP"
