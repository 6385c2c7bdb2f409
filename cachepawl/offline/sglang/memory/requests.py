"""How many requests may run at once under SGLang's own layouts, and what says so.

Source: `KVCacheConfigurator.resolve_max_num_reqs`.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.offline.sglang.memory.budget import DoesNotFit
from cachepawl.offline.sglang.memory.settle import Settled

LEAST_ESTIMATE, MOST_ESTIMATE = 2048, 4096


class RequestLimit(NamedTuple):
    """The limit of one data-parallel rank."""

    limit: int
    by: str
    """What binds: "flag", "estimate" (SGLang's, from tokens and context), "tokens" or "states"."""
    without_states: int
    """The limit if state slots did not bind."""


def request_limit(s: Settled, wanted: int | None, tokens: int, slots: int) -> RequestLimit:
    """The limit for `wanted` requests over all data-parallel ranks; None: SGLang's estimate."""
    if wanted is None:
        first, by = _estimate(s, tokens), "estimate"
    else:
        first, by = max(1, wanted // s.attn_dp), "flag"
    limit = min(first, tokens // 2)
    by = by if first <= tokens // 2 else "tokens"
    without_states = limit
    if s.spec.states and slots // s.slots_per_request < limit:
        limit, by = slots // s.slots_per_request, "states"
    if limit <= 0 and s.spec.states:
        raise DoesNotFit(
            f"{slots} state slots at {s.slots_per_request} a request let no request run; raise "
            f"--max-mamba-cache-size, --mamba-full-memory-ratio or --mem-fraction-static"
        )
    return RequestLimit(limit, by, without_states)


def _estimate(s: Settled, tokens: int) -> int:
    # An unknown context is taken as a long one, which SGLang estimates lowest for.
    by_context = int(tokens / s.context * 512) if s.context else 0
    return max(min(by_context, MOST_ESTIMATE), LEAST_ESTIMATE)
