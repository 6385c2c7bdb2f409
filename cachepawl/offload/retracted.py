"""States of retracted requests: kept on the host from their copy on, until they go on.

    published -> copied, before all else that is written -> locked on the host -> dropped

Until the copy is there the device may still evict it, as the newest of its lists: a request
is retracted because others need the room.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.cache import HybridPrefixCache
from cachepawl.offload.copies import Copies
from cachepawl.offload.options import TierCounters
from cachepawl.tree import Lock, Node


@dataclass(slots=True)
class _Kept:
    node: Node
    """On the device, where it was published; it may have left."""
    depth: int
    receipt: Lock | None = None
    """On the host."""


class Retracted:
    """By request."""

    def __init__(self, host: HybridPrefixCache, copies: Copies, counters: TierCounters) -> None:
        self._host = host
        self._copies = copies
        self._counters = counters
        self._kept: dict[str, _Kept] = {}
        self._open: dict[str, _Kept] = {}
        """Those whose copy is not there yet."""

    def __contains__(self, request: str) -> bool:
        return request in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def is_safe(self, request: str) -> bool:
        """Whether the request's state is locked on the host."""
        kept = self._kept.get(request)
        return kept is not None and kept.receipt is not None

    def parked(self, request: str) -> int | None:
        """The length at which a retracted request was published; None for any other."""
        kept = self._kept.get(request)
        return None if kept is None else kept.depth

    def add(self, request: str, node: Node) -> None:
        """A request was published up to a node and is running no more."""
        self.drop(request)
        self._counters.retractions += 1
        self._kept[request] = self._open[request] = _Kept(node, node.end)
        self.keep_what_is_there()

    def keep_what_is_there(self) -> None:
        """Lock the copies that have come.  Costs the requests whose copy has not."""
        for request, kept in list(self._open.items()):
            there = self._copies.at_end(kept.node, kept.depth)
            if there is not None:
                kept.receipt = self._host.lock(there)
                self._counters.retractions_kept += 1
                del self._open[request]

    def note_resumed(self, request: str, tokens: int) -> None:
        """It goes on from so many tokens.  Nothing for a request that was not retracted."""
        kept = self._kept.get(request)
        if kept is not None:
            self._counters.retractions_resumed += 1
            self._counters.retractions_resumed_tokens += tokens
            self._counters.retractions_short += kept.receipt is not None and tokens < kept.depth

    def drop(self, request: str) -> None:
        """It goes on, or never will.  Safe for any name."""
        kept = self._kept.pop(request, None)
        self._open.pop(request, None)
        if kept is None:
            return
        if kept.receipt is not None:
            self._host.unlock(kept.receipt)
        elif kept.node.owner is None:
            self._counters.retractions_lost += 1

    def drop_all(self) -> None:
        """Nobody goes on."""
        for request in list(self._kept):
            self.drop(request)

    def receipts(self) -> list[Lock]:
        """Open receipts on the host."""
        return [kept.receipt for kept in self._kept.values() if kept.receipt is not None]
