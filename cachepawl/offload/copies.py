"""Where the device's nodes have copies on the host, and how often they were used."""

from __future__ import annotations

from cachepawl.tree import Node, RadixTree

SPARE = 4096
"""Entries of nodes that have left, before they are looked through."""


class Copies:
    """Hints by the serials of device nodes.  What it says is there is there; it may not know all.

    Every step O(1), amortised over the nodes.
    """

    def __init__(self, device: RadixTree, host: RadixTree) -> None:
        self._device = device
        self._host = host
        self._at: dict[int, Node] = {}
        self._uses: dict[int, int] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._at.clear()
        self._uses.clear()

    def note(self, node: Node, there: Node) -> None:
        """A node of the host ends where `node` does, or lies below that depth."""
        self._prune()
        self._at[node.serial] = there

    def of(self, node: Node) -> Node | None:
        """The host's node at the end of this one or below; None if none is known."""
        there = self._at.get(node.serial)
        if there is None or there.owner is self._host.root:
            return there
        del self._at[node.serial]
        return None

    def complete(self, node: Node) -> bool:
        """Whether the host is known to have all that the device has at this node's end."""
        there = self.of(node)
        if there is None:
            return False
        return node.state is None or (there.end == node.end and there.state is not None)

    def at_end(self, node: Node, depth: int) -> Node | None:
        """The host's node from which a request can go on at the depth where `node` ended.

        The node may have left the device since.
        """
        there = self.of(node)
        if there is None or not self._host.has_states:
            return there
        return there if there.end == depth and there.state is not None else None

    def count_use(self, node: Node) -> int:
        """One more use of a node; how many there were."""
        self._prune()
        uses = self._uses[node.serial] = self._uses.get(node.serial, 0) + 1
        return uses

    def _prune(self) -> None:
        most = SPARE + 2 * self._device.num_nodes
        if len(self._at) > most or len(self._uses) > most:
            there = {node.serial for node in self._device.walk()}
            self._at = {k: v for k, v in self._at.items() if k in there}
            self._uses = {k: v for k, v in self._uses.items() if k in there}

    def wrong(self) -> list[str]:
        """I8: what is noted of resident nodes and is not so, for checks."""
        out = []
        for node in self._device.walk():
            there = self.of(node)
            if there is None:
                continue
            mine, theirs = self._device.path_key(node), self._host.path_key(there)
            if there.end < node.end or theirs.namespace != mine.namespace:
                out.append(f"I8 {node!r} has no copy at {there!r}")
            elif theirs.tokens[: len(mine.tokens)] != mine.tokens:
                out.append(f"I8 {node!r} is taken for {there!r}")
        return out
