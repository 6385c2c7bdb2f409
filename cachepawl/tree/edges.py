"""How much of an edge a key shares."""

from __future__ import annotations

FIRST_STEP = 2048
"""Bytes compared first; an early fork is common, and a small slice costs no copy to speak of."""
GROWTH = 4
"""Factor from one step to the next."""


def shared_bytes(edge: bytes, tokens: bytes, at: int, page_bytes: int) -> int:
    """Bytes, in whole pages, that `edge` shares with `tokens[at:]`.

    The first page must be known to be equal (the child was found by it).  Cost:
    copies and compares at most about five times the shared length, in a
    logarithmic number of steps; never looks at the far end of a long edge.
    """
    stop = min(len(edge), len(tokens) - at)
    stop -= stop % page_bytes
    low = page_bytes
    step = max(FIRST_STEP - FIRST_STEP % page_bytes, page_bytes)
    while True:
        if low >= stop:
            return low
        high = min(low + step, stop)
        if not tokens.startswith(edge[low:high], at + low):
            break
        low = high
        step *= GROWTH
    while high - low > page_bytes:
        middle = low + (high - low) // page_bytes // 2 * page_bytes
        if tokens.startswith(edge[low:middle], at + low):
            low = middle
        else:
            high = middle
    return low
