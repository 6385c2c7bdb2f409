"""Units: what is evicted together, what that frees, and what its loss would cost.

A *unit* is a node that a request could start from.  Of a leaf the state and the KV that
only it makes usable go, of an inner node the state alone:

    root ---- state ---- fork ---- state (leaf)     frees KV from the fork on, and a state
                          \\------- state (leaf)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cachepawl.policy.joint.ranks import Ranked
from cachepawl.policy.joint.sites import Site
from cachepawl.policy.joint.survival import Table
from cachepawl.tree import Node, RadixTree


class Bytes(NamedTuple):
    """What things take, in bytes."""

    token: float
    """KV of one token."""
    state: float
    """One state; 0 in a model without any."""


WITH_COPY = 1 / 16
"""What is lost with a unit of which the host has a copy, as a share: a load, not a prefill."""
SELDOM = 6
"""What carries no site is taken to be used as seldom as anything left for so many levels of age."""
PARTS = 64
"""Tables that the units of a tree are spread over."""


class Unit(Ranked):
    """One of them, and the sites whose next use it would serve."""

    __slots__ = ("copy", "node", "origin", "saving", "sites")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.copy: Unit | None = None
        """The same in the tier below, where that has all of it."""
        self.origin: Unit | None = None
        """The same in the tier above, of which this is the copy."""
        self.sites: tuple[Site, ...] = ()
        self.saving = 0.0
        """Tokens that a use saves for each byte that is held, as seen last."""
        self.rank = None

    def score(self, coarsest: Table) -> float:
        """What is lost with it, by what is known now: tokens for each byte and second.

        `coarsest` is the class of everything, for what carries no site.
        """
        uses = 0.0 if self.sites else coarsest.index[SELDOM]
        for site in self.sites:
            uses += site.table.rates[site.step]
        if self.copy is not None:
            return uses * self.saving * WITH_COPY
        return uses * self.saving

    def part(self) -> None:
        """It leaves its tier, and is nobody's copy and has none any more."""
        if self.copy is not None:
            self.copy.origin = None
        if self.origin is not None:
            self.origin.copy = None
        self.copy = self.origin = None


class Units:
    """Those of a tree, by node, in `PARTS` tables: a table that grows does so in one step."""

    def __init__(self) -> None:
        self._parts: list[dict[Node, Unit]] = [{} for _ in range(PARTS)]

    def get(self, node: Node) -> Unit | None:
        """The unit of a node, if it is one."""
        return self._parts[node.serial % PARTS].get(node)

    def of(self, node: Node) -> Unit:
        """The unit of a node, a new one if need be."""
        part = self._parts[node.serial % PARTS]
        unit = part.get(node)
        if unit is None:
            unit = part[node] = Unit(node)
        return unit

    def drop(self, node: Node) -> None:
        """KeyError for a node that is none."""
        del self._parts[node.serial % PARTS][node]

    def __iter__(self) -> Iterator[Unit]:
        for part in self._parts:
            yield from part.values()


def pair(above: Unit, below: Unit) -> None:
    """The one has a copy in the other: a unit of the device in one of the host."""
    if above.copy is not None:
        above.copy.origin = None
    if below.origin is not None:
        below.origin.copy = None
    above.copy, below.origin = below, above


def is_unit(tree: RadixTree, node: Node) -> bool:
    """Whether a request could start from a node's end."""
    return node.parent is not None and (node.state is not None or not tree.has_states)


def frees_kv(node: Node) -> bool:
    """Whether its KV could go now."""
    return not node.children and not node.full_lock


def above(tree: RadixTree, node: Node) -> Node:
    """The next shallower node that a request could start from; the root if there is none."""
    up = node.parent
    assert up is not None  # the root is never a unit
    while up.parent is not None and tree.has_states and up.state is None:
        up = up.parent
    return up


def saving(tree: RadixTree, node: Node, cost: Bytes, leaf: bool) -> float:
    """Tokens that are computed again without the unit, for each byte that it frees.

    `leaf`: whether its KV goes, too.  Of locks only that of a leaf counts, which keeps its KV.
    """
    up = node.parent
    assert up is not None  # the root is never a unit
    kept = None
    if tree.has_states:
        while up.state is None and up.parent is not None:
            if kept is None and len(up.children) > 1:
                kept = up
            up = up.parent
    saved = node.end - up.end
    freed = 0.0 if node.state is None else cost.state
    if leaf:
        freed += (saved if kept is None else node.end - kept.end) * cost.token
    return saved / freed if freed else 0.0
