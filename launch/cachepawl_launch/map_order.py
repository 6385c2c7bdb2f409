"""A map of the cache, ordered by the HTTP process and drawn by the scheduler.

SGLang asks its schedulers about their state with a request that has an id and no other
field.  An id of ours is an order: the answer then holds a map.  The scheduler reads such
requests between two steps, so a map never shows half of one.
"""

from __future__ import annotations

import re
import time
from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl.observe.snapshot import snapshot

_ORDER = re.compile(r"cachepawl-map:(\d{1,9}):(\d{1,9})")


def order(nodes: int, cells: int) -> str:
    """The request id that orders a map of at most so many entries and cells."""
    return f"cachepawl-map:{nodes}:{cells}"


def draw(
    cache: HybridPrefixCache, host: HybridPrefixCache | None, request_id: str | None
) -> dict[str, Any] | None:
    """The map that is ordered, with the seconds it took; None when none is."""
    ordered = _ORDER.fullmatch(request_id or "")
    if ordered is None:
        return None
    start = time.perf_counter()
    picture = snapshot(cache, int(ordered[1]), int(ordered[2]), host)
    return {"seconds": time.perf_counter() - start, "map": picture}
