"""What runs of the server with two tiers have done, verb by verb, and how much is enough."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from cachepawl.offload.tickets import LOAD, WRITE

LEAST = {
    "match": 3000, "lock": 500, "insert": 1000, "evict": 3000,
    "write-back": 80, "ack": 80, "failed write": 2,
    "load-back": 80, "loaded": 70, "failed load": 2, "abort": 40, "get off": 15,
    "retract": 100, "resume": 15, "host evict": 30, "reset": 10,
}  # fmt: skip
"""How often each verb happens in 10,000 operations at least, and at least once in fewer; of
evictions, tokens and states that went.

A third to a half of what was counted, so that other dice pass and a lost verb does not.
"""


def facts(server: Any) -> Counter[str]:
    """What both tiers and their transfers know of what they did."""
    here, host = server.cache.counters, server.tier.host.counters
    tier, moving = server.tier.counters, server.moving
    return Counter({
        "evict": here.evicted_tokens + here.evicted_states,
        "evicted for room on the host": host.evicted_tokens + host.evicted_states,
        "write-back": moving.begun[WRITE],
        "load-back": moving.begun[LOAD],
        "moved": len(moving.copied),
        "ack": tier.writes,
        "loaded": tier.loads,
    })  # fmt: skip


def run_until(operations: int, run: Callable[[int], Any], *, first: int) -> Counter[str]:
    """`run(seed)` from the first seed on, until so many operations were done; what was done."""
    gc.collect()
    gc.freeze()  # what was imported is not looked through again and again
    done: Counter[str] = Counter()
    seeds = count(first)
    try:
        while done["operations"] < operations:
            done.update(run(seed := next(seeds)))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        gc.unfreeze()
    return done


def assert_all_happened(done: Counter[str]) -> None:
    """A verb that happens no more, or hardly ever, is no longer tested."""
    rate = done["operations"] / 10_000
    rare = {verb: done[verb] for verb, least in LEAST.items() if done[verb] < max(1, least * rate)}
    all_of_them = {verb: done[verb] for verb in LEAST}
    assert not rare, f"{rare} in {done['operations']} operations, of {all_of_them}"
