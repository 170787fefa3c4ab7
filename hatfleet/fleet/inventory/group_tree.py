"""How groups contain each other and the hosts: parents, depth, membership, ``all`` and ``ungrouped``."""

from __future__ import annotations

import itertools
from graphlib import CycleError, TopologicalSorter

from hatfleet.common.errors import InputError, Where
from hatfleet.fleet.inventory.source import Draft

_IMPLICIT = {"all", "ungrouped"}


class GroupTree:
    """The relations between the groups and hosts of a draft.

    Attributes:
        children: Child groups by group; a group that nobody names as a child is a child of ``all``.
        depths: Steps down from ``all`` by group, by the longest way.
        groups_of: By host, every group it is in, through children too.
        hosts: By group, the hosts it names itself.

    Raises:
        InputError: groups contain each other.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        parents: dict[str, set[str]] = {name: set() for name in draft.groups}
        for name, group in draft.groups.items():
            for child in group.children:
                parents[child].add(name)
        orphans = [name for name in draft.groups if name != "all" and not parents[name]]
        for name in orphans:
            parents[name].add("all")
        self.children = {name: tuple(group.children) for name, group in draft.groups.items()}
        self.children["all"] += tuple(orphans)
        self.depths: dict[str, int] = {}
        self._ancestors: dict[str, set[str]] = {}
        for name in self._from_the_top(parents):
            self.depths[name] = max((self.depths[parent] + 1 for parent in parents[name]), default=0)
            self._ancestors[name] = parents[name].union(*(self._ancestors[parent] for parent in parents[name]))
        self.groups_of = self._membership()
        self.hosts = {name: tuple(group.hosts) for name, group in draft.groups.items()}
        # Those that the group itself names come first, as in Ansible.
        ungrouped = [*self.hosts["ungrouped"], *draft.hosts]
        self.hosts["ungrouped"] = tuple(dict.fromkeys(n for n in ungrouped if "ungrouped" in self.groups_of[n]))

    def _from_the_top(self, parents: dict[str, set[str]]) -> list[str]:
        try:
            return list(TopologicalSorter(parents).static_order())
        except CycleError as error:
            ring: list[str] = error.args[1]
            edges = itertools.pairwise(ring)
            places = (self._draft.groups[parent].children.get(child) for parent, child in edges)
            raise InputError(
                f"groups contain each other: {' > '.join(ring)}",
                where=next((place for place in places if place), Where()),
                hint="take one of them out of the other's children",
            ) from error

    def _membership(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {name: {"all"} for name in self._draft.hosts}
        for name, group in self._draft.groups.items():
            for host in group.hosts:
                found[host] |= {name} | self._ancestors[name]
        for groups in found.values():
            if groups - _IMPLICIT:
                groups.discard("ungrouped")
            else:
                groups.add("ungrouped")
        return found
