"""What a cache could have saved on a trace that is known from end to end.

runs = runs_of(trace.requests(), trace.block_tokens, page_tokens)
upper_bound(runs, Bytes(kv, state), budget)         no cache saves more tokens
policy = Clairvoyant(runs, Bytes(kv, state))        a cache with this policy saves so many:
for request in policy.watch(trace.requests(), cache.tree): ...
"""

from __future__ import annotations

from cachepawl.offline.bounds.clairvoyant import Clairvoyant
from cachepawl.offline.bounds.runs import Runs, runs_of
from cachepawl.offline.bounds.upper import Bytes, upper_bound

__all__ = ["Bytes", "Clairvoyant", "Runs", "runs_of", "upper_bound"]
