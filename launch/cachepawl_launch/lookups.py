"""What the cache said to each request, kept until the request ends and a while after."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

from cachepawl.observe.counters import CacheCounters
from cachepawl.observe.reasons import DROPPED, MissReason, explain

WAITING_KEPT = 4096
ENDED_KEPT = 256


class Lookup(NamedTuple):
    """One request's match; tokens."""

    rid: str
    prompt: int
    kv_len: int
    usable: int
    branch: int | None
    beyond: str
    """Why cached KV beyond `usable` is of no use."""
    dropped: bool

    def reasons(self) -> list[MissReason]:
        """Why `prompt - usable` tokens have to be computed."""
        if self.dropped:
            return [MissReason(DROPPED, self.prompt)]
        return explain(self.prompt, self.kv_len, self.usable, beyond=self.beyond)


class Lookups:
    """The latest match of every request that waits or runs, and of those that just ended."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Lookup] = OrderedDict()
        self.ended: deque[Lookup] = deque(maxlen=ENDED_KEPT)

    def clear(self) -> None:
        self._open.clear()

    def note(self, lookup: Lookup) -> None:
        """A request was matched (again); the latest counts."""
        self._open[lookup.rid] = lookup
        self._open.move_to_end(lookup.rid)
        if len(self._open) > WAITING_KEPT:
            self._open.popitem(last=False)

    def end(self, rid: str, counters: CacheCounters) -> None:
        """The request gave its row back: count what its match was worth."""
        lookup = self._open.pop(rid, None)
        if lookup is None:
            return
        self.ended.append(lookup)
        counters.lookups += 1
        counters.prompt_tokens += lookup.prompt
        counters.hit_tokens += lookup.usable
        for reason, tokens in lookup.reasons():
            counters.missed[reason] += tokens

    def recent(self, count: int) -> list[dict[str, Any]]:
        """The latest ended requests, newest last."""
        return [
            {"rid": look.rid, "prompt": look.prompt, "cached": look.usable,
             "reasons": [str(reason) for reason in look.reasons()]}
            for look in list(self.ended)[-count:]
        ]  # fmt: skip
