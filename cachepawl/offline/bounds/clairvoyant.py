"""An eviction policy that knows the trace: how well a cache of the real kind could do.

Optimal eviction is out of reach (things have sizes, depend on each other and save different
amounts), so this is a good schedule, not the best one: what it saves can be saved, and the
best lies between it and the upper bound.

A *unit* is a state with the KV that only it makes usable: of a leaf the state and the KV up
to the next node that has another use, of an inner node the state alone.  The unit with the
least saving per byte goes first, and the later it is needed the sooner:

    tokens to the next shallower state / bytes freed / (requests until it is needed)^2

The square is what saved most on public traces; without it deep units crowd out soon ones.
Without states a unit is a leaf of KV.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count

from cachepawl.offline.bounds.future import NEVER, Future
from cachepawl.offline.bounds.runs import ROOT, Runs
from cachepawl.offline.bounds.upper import Bytes
from cachepawl.offline.traces.request import TraceRequest
from cachepawl.policy.base import EvictionPolicy, Kind, Victim
from cachepawl.policy.lru import LRU
from cachepawl.tree import Node, RadixTree
from cachepawl.types import Key


class _Seen:
    """A unit, where it is in the trace's tree, and its latest score."""

    __slots__ = ("needed", "node", "run", "score")

    def __init__(self, node: Node, run: int) -> None:
        self.node = node
        self.run = run
        """ROOT for an answer's node, which no prompt reaches."""
        self.needed: float = 0.0
        self.score = 0.0


FRESH = 3
"""States from the end of a request's path up: what it left may serve others than before."""
ENDING = 64
"""Latest requests whose answers may still come into the tree."""


class Clairvoyant(EvictionPolicy):
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
        self._ending: deque[Node] = deque(maxlen=ENDING)

    @property
    def followed(self) -> int:
        """Nodes that it knows about: those of the cache and some that have just left."""
        return len(self._seen)

    def watch(self, requests: Iterable[TraceRequest], tree: RadixTree) -> Iterator[TraceRequest]:
        """The requests, one after the other; follows what each leaves in the tree."""
        for self._now, request in enumerate(requests):
            yield request
            self._follow(tree, request.key)

    def _follow(self, tree: RadixTree, key: Key) -> None:
        """The latest prompt is in the tree: find its units, score those that changed."""
        runs = self.future.runs
        path = runs.path(self._now)
        found = tree.peek(key)
        node, fresh = found.deepest, FRESH
        self._ending.append(node)
        while (parent := node.parent) is not None:
            if _is_whole(tree, node) and node.end <= found.kv_len:
                run = path[bisect_left(path, node.end, key=runs.end.__getitem__)]
                seen = self._see(node, run)
                if fresh or seen.needed <= self._now:
                    self._push(tree, node)
                fresh = max(0, fresh - 1)
            node = parent
        for above in self._ending:
            for answer in above.children.values():
                if id(answer) not in self._seen and _is_whole(tree, answer):
                    self._see(answer, ROOT)
                    self._push(tree, answer)

    def _see(self, node: Node, run: int) -> _Seen:
        seen = self._seen.get(id(node))
        if seen is None or seen.node is not node:
            seen = self._seen[id(node)] = _Seen(node, run)
        elif seen.run == ROOT:
            seen.run = run
        if node.state is not None and run != ROOT:
            self.future.note_state(run, node.end, id(node))
        return seen

    def victim(self, tree: RadixTree, kind: Kind | None = None) -> Victim | None:
        """The unit that is worth least; useless KV before all.  O(log units), usually."""
        if kind is not None:
            return LRU.victim(tree, kind)
        cold = tree.kv_victim()
        if cold is not None and tree.has_states and not cold.kv_stamp:
            return Victim(cold, "kv")
        self._rescore_beside(tree)
        chosen = self._lowest(tree)
        if chosen is None:
            return LRU.victim(tree)
        self._beside = chosen if chosen.children else chosen.parent
        return Victim(chosen, "state" if chosen.children else "kv")

    def _lowest(self, tree: RadixTree) -> Node | None:
        """The unlocked unit of the lowest score; stays in the queue until it is gone."""
        kept = []
        chosen = None
        while self._queue and chosen is None:
            score, _, node = entry = heappop(self._queue)
            if not self._is_unit(tree, node):
                self._forget(tree, node)
            elif score != self._seen[id(node)].score:
                pass  # it was scored anew since
            elif node.state_lock if node.children else node.full_lock:
                kept.append(entry)
            elif self._has_grown(tree, node, score):
                self._push(tree, node)
            else:
                kept.append(entry)
                chosen = node
        for entry in kept:
            heappush(self._queue, entry)
        return chosen

    def _has_grown(self, tree: RadixTree, node: Node, score: float) -> bool:
        """Whether another unit may be worth less now."""
        true = self._score(tree, node)
        return true > score and bool(self._queue) and true > self._queue[0][0]

    def _push(self, tree: RadixTree, node: Node) -> None:
        if self._is_unit(tree, node):
            score = self._seen[id(node)].score = self._score(tree, node)
            heappush(self._queue, (score, next(self._order), node))

    def _is_unit(self, tree: RadixTree, node: Node) -> bool:
        """Whether the node is one, and was seen when its request was done."""
        if node.owner is not tree.root or id(node) not in self._seen:
            return False
        return node.state is not None if tree.has_states else not node.children

    def _forget(self, tree: RadixTree, node: Node) -> None:
        """It is no unit: it was evicted, lost its state, or is a leaf no longer."""
        seen = self._seen.get(id(node))
        if seen is None or seen.node is not node:
            return
        if tree.has_states and seen.run != ROOT:
            self.future.drop_state(seen.run, node.end, id(node))
        if tree.has_states or node.owner is None:
            del self._seen[id(node)]

    def _score(self, tree: RadixTree, node: Node) -> float:
        seen = self._seen[id(node)]
        if seen.run == ROOT:
            seen.needed = NEVER
        elif tree.has_states:
            seen.needed = self.future.next_use(seen.run, node.end, self._now)
        else:
            seen.needed = self.future.next_pass(seen.run, self._now)
        if seen.needed == NEVER:
            return 0.0
        return _saving(tree, node) / self._freed(node) / (seen.needed - self._now) ** 2

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
        if not tree.has_states:
            self._push(tree, node)  # a leaf now, perhaps
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


def _is_whole(tree: RadixTree, node: Node) -> bool:
    """Whether a request may start from here."""
    return node.state is not None or not tree.has_states


def _saving(tree: RadixTree, node: Node) -> int:
    """Tokens to the next shallower node that a request could start from."""
    above = node.parent
    assert above is not None  # the root is never a unit
    while tree.has_states and above.parent is not None and above.state is None:
        above = above.parent
    return node.end - above.end
