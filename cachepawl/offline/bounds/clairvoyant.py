"""An eviction policy that knows the trace: how well a cache of the real kind could do.

Optimal eviction is out of reach (things have sizes, depend on each other and save different
amounts), so this is a good schedule, not the best one: what it saves can be saved, and the
best lies between it and the upper bound.

A *unit* is a state with the KV that only it makes usable: of a leaf the state and the KV up
to the next node that has another use, of an inner node the state alone.  The unit with the
least saving per byte and per request until its next use goes first:

    tokens to the next shallower state / bytes freed / requests until it is needed

Without states a unit is a leaf of KV.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count

from cachepawl.offline.bounds.future import NEVER, Future
from cachepawl.offline.bounds.runs import Runs
from cachepawl.offline.bounds.upper import Bytes
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy.base import Victim
from cachepawl.policy.lru import LRU
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key


class _Seen:
    """A node that was on a request's path, and when it is needed."""

    __slots__ = ("needed", "node", "run")

    def __init__(self, node: Node, run: int) -> None:
        self.node = node
        self.run = run
        self.needed: float = 0.0


FRESH = 3
"""States from the end of a request's path up: what it left may serve others than before."""


class Clairvoyant:
    """For one replay of the trace whose runs it was given: play what `watch` yields."""

    name = "clairvoyant"

    def __init__(self, runs: Runs, cost: Bytes) -> None:
        self.cost = cost
        self.future = Future(runs)
        self._now = -1
        self._seen: dict[int, _Seen] = {}
        self._queue: list[tuple[float, int, Node]] = []
        """Scores, lowest first; one that has grown since is corrected when it comes up."""
        self._order = count()
        self._beside: Node | None = None
        """Above the latest victim: what is left there is worth something else now."""

    def watch(self, requests: Iterable[TraceRequest], tree: RadixTree) -> Iterator[TraceRequest]:
        """The requests, one after the other; follows what each leaves in the tree."""
        for self._now, request in enumerate(requests):
            yield request
            self._follow(tree, request.key)

    def _follow(self, tree: RadixTree, key: Key) -> None:
        """The latest request has ended: find its nodes, score those that changed."""
        runs = self.future.runs
        path = runs.path(self._now)
        found = tree.peek(key)
        node, fresh = found.deepest, FRESH
        while (parent := node.parent) is not None:
            if node.end <= found.kv_len:
                seen = self._seen.get(id(node))
                if seen is None:
                    run = path[bisect_left(path, node.end, key=runs.end.__getitem__)]
                    seen = self._seen[id(node)] = _Seen(node, run)
                if node.state is not None:
                    self.future.note_state(seen.run, node.end)
                if fresh or seen.needed <= self._now:
                    self._push(tree, node)
                fresh = max(0, fresh - (node.state is not None))
            node = parent

    def victim(self, tree: RadixTree) -> Victim | None:
        """The unit that is worth least; useless KV before all.  O(log units), usually."""
        cold = tree.kv_victim()
        if cold is not None and tree.has_states and not cold.kv_stamp:
            return Victim(cold, "kv")
        self._rescore_beside(tree)
        locked = []
        chosen = None
        while self._queue and chosen is None:
            entry = heappop(self._queue)
            score, _, node = entry
            if not self._is_unit(tree, node):
                self._forget(node)
            elif node.full_lock if not node.children else node.state_lock:
                locked.append(entry)
            else:
                true = self._score(tree, node)
                if true > score and self._queue and true > self._queue[0][0]:
                    heappush(self._queue, (true, next(self._order), node))
                else:
                    locked.append(entry)
                    chosen = node
        for entry in locked:
            heappush(self._queue, entry)
        if chosen is None:
            return LRU.victim(tree)
        self._beside = chosen if chosen.children else chosen.parent
        return Victim(chosen, "state" if chosen.children else "kv")

    def _push(self, tree: RadixTree, node: Node) -> None:
        if self._is_unit(tree, node):
            heappush(self._queue, (self._score(tree, node), next(self._order), node))

    def _is_unit(self, tree: RadixTree, node: Node) -> bool:
        """Whether the node is one, and was on the path of a request that has ended."""
        if node.owner is not tree.root or id(node) not in self._seen:
            return False
        return node.state is not None if tree.has_states else not node.children

    def _forget(self, node: Node) -> None:
        """What is no unit any more has no state; and once evicted it is nothing."""
        seen = self._seen.get(id(node))
        if seen is None or seen.node is not node or node.state is not None:
            return
        self.future.drop_state(seen.run, node.end)
        if node.owner is None:
            del self._seen[id(node)]

    def _score(self, tree: RadixTree, node: Node) -> float:
        seen = self._seen[id(node)]
        if tree.has_states:
            seen.needed = self.future.next_use(seen.run, node.end, self._now)
        else:
            seen.needed = self.future.next_pass(seen.run, self._now)
        if seen.needed == NEVER:
            return 0.0
        return _saving(tree, node) / self._freed(node) / (seen.needed - self._now)

    def _freed(self, node: Node) -> int:
        """Bytes that its eviction frees."""
        if node.children:
            return self.cost.state
        above = node.parent
        while above is not None and above.parent is not None:
            if above.state is not None or len(above.children) > 1 or above.full_lock:
                break
            above = above.parent
        kv = (node.end - (above.end if above is not None else 0)) * self.cost.kv
        return kv + (self.cost.state if node.state is not None else 0)

    def _rescore_beside(self, tree: RadixTree) -> None:
        """Units next to the latest victim free other bytes than before."""
        node, self._beside = self._beside, None
        if node is None or node.owner is not tree.root:
            return
        up: Node | None = node
        while up is not None and up.parent is not None:
            if up.state is not None:
                self._push(tree, up)
                break
            up = up.parent
        while len(node.children) == 1:
            (node,) = node.children.values()
            self._push(tree, node)
            if node.state is not None:
                break


def _saving(tree: RadixTree, node: Node) -> int:
    """Tokens to the next shallower node that a request could start from."""
    above = node.parent
    assert above is not None  # the root is never a unit
    while tree.has_states and above.parent is not None and above.state is None:
        above = above.parent
    return node.end - above.end
