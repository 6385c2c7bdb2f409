"""What the cache said to each request, kept until the request ends and a while after."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, NamedTuple

from cachepawl.observe.counters import CacheCounters
from cachepawl.tree import Miss

WAITING_KEPT = 4096
ENDED_KEPT = 256


class Lookup(NamedTuple):
    """One request's match; tokens."""

    rid: str
    prompt: int
    usable: int
    branch: int | None
    missed: list[Miss]
    """Why `prompt - usable` tokens have to be computed."""


class Ending(NamedTuple):
    """How a request gave its row back."""

    row: int
    cached: int
    """Cached tokens as SGLang reports them."""
    answered: int
    """Tokens of its answer so far."""
    how: str
    """SGLang's reason, or "retracted"."""


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

    def end(self, rid: str, counters: CacheCounters, ending: Ending) -> None:
        """The request gives its row back: count what its match was worth."""
        lookup = self._open.pop(rid, None)
        if lookup is not None:
            self._count(lookup, counters)

    def _count(self, lookup: Lookup, counters: CacheCounters) -> None:
        self.ended.append(lookup)
        counters.lookups += 1
        counters.prompt_tokens += lookup.prompt
        counters.hit_tokens += lookup.usable
        for miss in lookup.missed:
            counters.missed[miss.reason.value] += miss.tokens

    def recent(self, count: int) -> list[dict[str, Any]]:
        """The latest ended requests, newest last."""
        return [
            {"rid": look.rid, "prompt": look.prompt, "cached": look.usable,
             "reasons": [str(miss) for miss in look.missed]}
            for look in list(self.ended)[-count:]
        ]  # fmt: skip
