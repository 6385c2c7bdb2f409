"""Which waiting requests get something back from the host, and when they go on.

queued -> match of both tiers -> load, if the request then fits -> (poll) -> admitted
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cachepawl.offload.load_backs import Load
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.tier import HostTier
from cachepawl.tree import Node
from cachepawl.types import Key
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.host.answers import Answers
from cachepawl_launch.host.waits import Waits

FIRST = 8
"""Requests at the head of the queue that are looked at in a step."""
ANSWER_AHEAD = 32
"""Tokens of a running request's answer that a load leaves room for."""


def room_of(req: Any, page: int) -> int:
    """Tokens of room that a request takes to begin its answer: its prompt, and a page."""
    return len(req.origin_input_ids) + len(req.output_ids) + page


def nobody_to_tell(request: str, prefix: int, tokens: int) -> None:
    """Where nothing is recorded."""


class Loader:
    """Starts loads for the first requests of the queue; knows who had what from where."""

    def __init__(self, tier: HostTier, tree_cache: CachepawlPrefixCache) -> None:
        self._tier = tier
        self._cache = tree_cache
        self.waits = Waits()
        self._answers = Answers(tier)
        self.note_brought: Callable[[str, int, int], None] = nobody_to_tell
        """Told of every admission: request, cached tokens, those that were loaded for it."""
        self._had: dict[str, int] = {}
        """Tokens that a request would have had without its loads."""
        self.hit_tokens = 0
        """Tokens that admitted requests had from the host."""
        self.hit_requests = 0

    def start(self, queue: Sequence[Any], running: int, rest: int = 0) -> int:
        """Start loads for the first requests of the queue, as far as they would fit then.

        `running`: requests whose answers go on meanwhile; `rest`: tokens that the prompt which
        is being computed still takes.  A request that does not fit, with those before it, ends
        the pass: nothing behind it may take its room.  Returns its place if the host has
        something for it: from there on none should be admitted while loads are under way, for
        it would be computed without, in the room of those before it.
        """
        device = self._tier.device
        page = device.geometry.page_tokens
        tokens, states = rest + running * max(page, ANSWER_AHEAD), 0
        one_more = int(device.tree.has_states)
        for at, req in enumerate(queue[:FIRST]):
            whole = room_of(req, page)
            states += device.states_per_request
            if not self._tier.waits(req.rid):
                wanted = tokens + whole - self._tier.loads.pinned(req.rid)
                if not device.fits(wanted, states + one_more):
                    return at if self._has_something(req) else len(queue)
                if not self._load(req):
                    return at
            tokens += whole - self._tier.loads.pinned(req.rid)
        return len(queue)

    def _find(self, req: Any) -> tuple[Key, TierMatch] | None:
        """What both tiers have for a waiting request; None if it is matched by nothing."""
        looked = self._cache.awaited(req)
        if looked is None:
            return None
        found = self._tier.match(*looked)
        self._answers.note(req.rid, found)
        return looked[0], found

    def _has_something(self, req: Any) -> bool:
        """Whether the host could add something.  O(1) while nothing changes."""
        answer = self._answers.of(req.rid)
        if answer is not None:
            return answer.host is not None
        found = self._find(req)
        return found is not None and found[1].host_node is not None

    def _load(self, req: Any) -> bool:
        """Begin what the host can add.  False when the device has no room for it.

        O(1) where the answer is that of the step before.
        """
        answer = self._answers.of(req.rid)
        if answer is not None and answer.host is None:
            return True
        if self._answers.refused(req.rid):
            return False
        found = self._find(req)
        if found is None or found[1].host_node is None:
            return True
        what = self._tier.load(req.rid, *found)
        if what is Load.REFUSED:
            self._answers.note(req.rid, found[1], refused=True)
            return False
        if what in (Load.STARTED, Load.JOINED):
            self._answers.drop(req.rid)
            self._had.setdefault(req.rid, found[1].device.usable_len)
            self.waits.begin(req.rid)
        return True

    def from_host(self, req: Any) -> int:
        """Tokens of an admitted request's prefix that were loaded for it."""
        had = self._had.get(req.rid)
        return 0 if had is None else max(0, int(req.prefix_len) - had)

    def admitted(self, req: Any) -> None:
        """It runs: its prefix was used, and it holds that itself."""
        tokens = self.from_host(req)
        self.hit_tokens += tokens
        self.hit_requests += tokens > 0
        self.note_brought(req.rid, int(req.prefix_len), tokens)
        if isinstance(req.last_node, Node):  # else it rides, and its prefix is used when it lands
            self._tier.used(req.last_node)
        parked = self._tier.retracted.parked(req.rid)
        if parked is not None:
            self._cache.log("resume", parked, int(req.prefix_len))
        self._tier.goes_on(req.rid, int(req.prefix_len))
        self.settle(req.rid)

    def settle(self, rid: str) -> None:
        """The request waits no more.  Safe for any name."""
        self._had.pop(rid, None)
        self._answers.drop(rid)
        self.waits.end(rid)
        self._tier.settle(rid)

    def arrived(self) -> None:
        """Loads have ended: those that waited for them wait no more."""
        self.waits.end_unless(self._tier.waits)

    def clear(self) -> None:
        """Nobody waits."""
        self._had.clear()
        self._answers.clear()
        self.waits.clear()

    def stats(self) -> dict[str, int]:
        """Totals, in the names of `HostTier.stats`."""
        hits = {"host_hit_tokens": self.hit_tokens, "host_hit_requests": self.hit_requests}
        return hits | self.waits.stats()
