"""A device's addresses, as the inventory gives them in ``hatfleet_network``."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hatfleet.common.errors import InputError
from hatfleet.common.validate import validate
from hatfleet.common.yamlfile import Node
from hatfleet.fleet.inventory.model import Inventory

VARIABLE = "hatfleet_network"

#: A name that Linux takes for a network interface: at most 15 characters (IFNAMSIZ - 1).
InterfaceName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,14}$")]


def _with_prefix(value: Any) -> Any:
    if isinstance(value, str) and "/" not in value:
        raise ValueError("the length of the network's prefix is needed, such as 192.0.2.10/24")
    return value


class Interface(BaseModel):
    """A network interface with a fixed address."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    address: Annotated[IPv4Interface | IPv6Interface, BeforeValidator(_with_prefix)]
    """Address with the length of the network's prefix, such as 192.0.2.10/24."""
    gateway: IPv4Address | IPv6Address | None = None
    """Router for everything outside that network; an address inside it."""
    dns: list[IPv4Address | IPv6Address] = Field(default=[])
    """Name servers."""

    @model_validator(mode="after")
    def _gateway_is_near(self) -> Self:
        if self.gateway is None:
            return self
        if self.gateway.version != self.address.version:
            raise ValueError(f"the gateway {self.gateway} is not of the address's family")
        near = self.gateway in self.address.network or self.gateway.is_link_local
        if not near or self.gateway == self.address.ip:
            raise ValueError(f"the gateway {self.gateway} is not another address in {self.address.network}")
        return self


class NetworkVariables(BaseModel):
    """The variable; without it every interface asks by DHCP."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    hatfleet_network: dict[InterfaceName, Interface] = Field(default={})
    """Interfaces with fixed addresses, by name; all others ask by DHCP."""


def network_of(inventory: Inventory, host: str) -> dict[str, Interface]:
    """Return a host's interfaces with fixed addresses, by name; none means DHCP on all.

    Raises:
        InputErrors: mistakes in the variable, each with its line.
    """
    found = inventory.variables(host).get(VARIABLE)
    if found is None:
        return {}
    if found.value is None:
        raise InputError("there is nothing behind it", where=found.where(VARIABLE), hint="remove it for DHCP")
    place = inventory.hosts[host]
    return validate(NetworkVariables, Node({VARIABLE: found}, place.source, place.line)).hatfleet_network
