"""Which nodes of the device are on their way to the host, and with which write-backs.

A copy is of a range of tokens; it is followed by the nodes that the range lies in.  An edge that is
cut while it is copied is two nodes, and both are under way.

    host     [0 .. have)                     device   [....|......... depth)   one edge
                   [have ........ depth)     cut      [....|...)[.... depth)
"""

from __future__ import annotations

from cachepawl.offload.tickets import Ticket
from cachepawl.tree import Node, RadixTree


class UnderWay:
    """By node.  `add` and `end` cost the ticket's nodes, all else O(1) but for cuts."""

    def __init__(self, device: RadixTree) -> None:
        self._tickets: dict[Node, list[Ticket]] = {}
        device.on_split = self._cut

    def __contains__(self, node: Node) -> bool:
        return node in self._tickets

    def add(self, ticket: Ticket, nodes: list[Node]) -> None:
        """A write-back begins: of the KV of these, and of the state of the last of the path."""
        ticket.covers = nodes
        for node in nodes:
            self._tickets.setdefault(node, []).append(ticket)

    def end(self, ticket: Ticket) -> None:
        """It has ended, well or not."""
        for node in ticket.covers:
            tickets = self._tickets[node]
            tickets.remove(ticket)
            if not tickets:
                del self._tickets[node]

    def _cut(self, prefix: Node, node: Node) -> None:
        """An edge was cut; `prefix` is the new node above `node`."""
        for ticket in self._tickets.get(node, ()):
            if prefix.end > ticket.target.start:
                ticket.covers.append(prefix)
                self._tickets.setdefault(prefix, []).append(ticket)

    def as_sets(self) -> dict[Node, set[int]]:
        """Numbers of the tickets of each node, for checks."""
        return {node: {one.number for one in found} for node, found in self._tickets.items()}
