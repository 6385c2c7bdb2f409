"""The verbs of the log on a real cache: fields as asked in, fields as answered out.

Nodes and receipts go by the numbers that the log gave them.
"""

from __future__ import annotations

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.offline.recorded.paths import Paths, Place
from cachepawl.record.recording import sizes_of
from cachepawl.tree import Lock, Match, Miss, Node, Reason

SPARE_NODES = 4096
"""Nodes that have left and are still known, before they are looked through."""
Slots = tuple[int, ...] | None
Why = tuple[str, int, int, int | None, str]


class Differs(Exception):  # noqa: N818 - a finding, not a failure
    """Why a call cannot be made as it was."""


class Calls:
    """One method a verb, by the verb's name.

    `first` is the serial that the recorded cache had given last when this one was fresh;
    more than 0 for a cache that begins at a reset.
    """

    def __init__(self, cache: HybridPrefixCache, paths: Paths, *, first: int | None) -> None:
        self.cache = cache
        self.found: Match | None = None
        """What the latest match found."""
        self._paths = paths
        self._first = first or 0
        self._from_reset = first is not None
        self._nodes: dict[int, Node] = {0: cache.tree.root}
        self._receipts: dict[int, Lock] = {}
        self._latest: tuple[Place, int | None] | None = None

    def _name(self, node: Node) -> int:
        """A node's number in the log; remembers the node."""
        if node.parent is None:
            return 0
        if len(self._nodes) > SPARE_NODES + 2 * self.cache.tree.num_nodes:
            self._nodes = {n: node for n, node in self._nodes.items() if node.owner is not None}
        number = node.serial + self._first
        self._nodes[number] = node
        return number

    def _node(self, number: int) -> Node:
        node = self._nodes.get(number)
        if node is None:
            raise Differs(f"no node {number}")
        return node

    # -- reading ------------------------------------------------------------------

    def match(self, place: Place, limit: int | None) -> tuple[int, int, int]:
        self.found = self.cache.match(self._paths.key(place), limit)
        self._latest = place, limit
        return self.found.kv_len, self.found.usable_len, self._name(self.found.node)

    def touch(self, place: Place) -> tuple[()]:
        self.cache.touch(self._paths.key(place))
        return ()

    def lock(self, node: int, receipt: int) -> tuple[()]:
        self._receipts[receipt] = self.cache.lock(self._node(node))
        return ()

    def lock_path(self, node: int, receipt: int) -> tuple[()]:
        self._receipts[receipt] = self.cache.lock_path(self._node(node))
        return ()

    def unlock(self, number: int) -> tuple[()]:
        receipt = self._receipts.pop(number, None)
        if receipt is not None:
            self.cache.unlock(receipt)
        elif not self._from_reset:  # else one on the root, from before
            raise Differs(f"no receipt {number}")
        return ()

    # -- room ---------------------------------------------------------------------

    def make_room_for_pages(self, pages: int) -> tuple[bool]:
        return (self.cache.make_room_for_pages(pages),)

    def make_room_for_states(self, states: int) -> tuple[bool]:
        return (self.cache.make_room_for_states(states),)

    def make_way(self, tokens: int, states: int) -> tuple[str]:
        return (self.cache.make_way(tokens, states).name,)

    def evict_tokens(self, tokens: int) -> tuple[int]:
        return (self.cache.evict_tokens(tokens),)

    def evict_states(self, states: int) -> tuple[int]:
        return (self.cache.evict_states(states),)

    # -- rows ----------------------------------------------------------------------

    def begin(self, place: Place, row: int, at: int, recalled: tuple[int, ...]) -> tuple[()]:
        self.cache.begin(row, self._paths.key(place), at, recalled)
        return ()

    def open_row(self, row: int, node: int, tokens: int) -> tuple[()]:
        self.cache.open_row(row, self._node(node), tokens)
        return ()

    def allocate(self, row: int, tokens: int) -> tuple[Slots]:
        try:
            got = self.cache.allocate(row, tokens)
        except OutOfPages:
            return (None,)
        return (tuple(number for run in got.runs for number in run),)

    def next_pages(self, rows: tuple[int, ...]) -> tuple[int | None]:
        try:
            return (sum(self.cache.next_pages(list(rows))),)
        except OutOfPages:
            return (None,)

    def publish(
        self, place: Place, row: int, depth: int, state: int | None
    ) -> tuple[int, bool, bool]:
        done = self.cache.publish(row, self._paths.key(place), depth, state)
        return self._name(done.node), done.replaced, done.state_taken

    def note_locked_out(self, place: Place, depth: int) -> tuple[()]:
        self.cache.note_locked_out(self._paths.key(place), depth)
        return ()

    def release(self, row: int, start: int, stop: int) -> tuple[()]:
        self.cache.release(row, start, stop)
        return ()

    def close_row(self, row: int) -> tuple[()]:
        self.cache.close_row(row)
        return ()

    # -- states ----------------------------------------------------------------------

    def take_states(self, count: int) -> tuple[Slots]:
        try:
            return (self.cache.take_states(count),)
        except OutOfPages:
            return (None,)

    def try_states(self, count: int) -> tuple[Slots]:
        return (self.cache.try_states(count),)

    def free_states(self, slots: tuple[int, ...]) -> tuple[()]:
        self.cache.free_states(slots)
        return ()

    # -- checkpoints -----------------------------------------------------------------

    def try_checkpoint(self) -> tuple[int | None]:
        return (self.cache.try_checkpoint(),)

    def drop_checkpoint(self, checkpoint: int) -> tuple[()]:
        self.cache.drop_checkpoint(checkpoint)
        return ()

    # -- the whole -------------------------------------------------------------------

    def reset(self, serial: int) -> tuple[()]:
        self.cache.reset()
        latest = self.cache.tree.serial + self._first
        if latest != serial:
            raise Differs(f"{latest} as the latest node")
        self._nodes = {0: self.cache.tree.root}
        return ()

    # -- notes -----------------------------------------------------------------------

    def asked(
        self, name: str, prompt: int, usable: int, branch: int | None
    ) -> tuple[tuple[Why, ...]]:
        """Why the latest match did not find more."""
        if self.found is None or self._latest is None:
            raise Differs("no match before it")
        missed = self._explain(self._latest[1])
        if usable == 0 < self.found.usable_len:
            # The server gave up this hit, which is none of the cache's doing.
            missed = [Miss(Reason.DROPPED, prompt, prompt)]
        elif usable != self.found.usable_len:
            raise Differs(f"{self.found.usable_len} usable tokens")
        return (tuple((m.reason.value, m.tokens, m.upto, m.age, m.by) for m in missed),)

    def _explain(self, limit: int | None) -> list[Miss]:
        assert self._latest is not None
        assert self.found is not None
        return self.cache.tree.explain(self._paths.key(self._latest[0]), self.found, limit)

    def ended(self, name: str, row: int, cached: int, answered: int, how: str) -> tuple[()]:
        return ()

    def sizes(self) -> tuple[tuple[int, ...]]:
        # Frames are zeroed by whoever has them; here nobody does.
        self.cache.frames.turned_to_kv.clear()
        return (sizes_of(self.cache),)
