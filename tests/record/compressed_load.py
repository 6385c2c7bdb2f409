"""A cache of compressed states under a seeded load, more than it holds."""

from __future__ import annotations

import random
from array import array

from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.types import Key

PAGE = 4


def make_compressed(frames: int = 10) -> HybridPrefixCache:
    """Two pages, a state or three checkpoints a frame."""
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    plain = Geometry(kv, StateShape(1, (), 2, (64,), 4), PAGE, frames)
    return HybridPrefixCache(plain.with_checkpoints("int8"), states_per_request=1)


def serve(cache: HybridPrefixCache, requests: int, seed: int = 1) -> int:
    """Short prompts near to each other, each published where it ends; returns what was hit."""
    draw = random.Random(seed)
    texts: list[list[int]] = [[]]
    hit = 0
    for row in range(requests):
        base = draw.choice(texts[-6:])
        pages = draw.randrange(len(base) + 1)
        text = (base[:pages] + draw.choices(range(4), k=2))[:6]
        texts.append(text)
        raw = array("q", [page for page in text for _ in range(PAGE)] + [9]).tobytes()
        key, depth = Key(raw), len(text) * PAGE
        found = cache.match(key, depth)
        hit += found.usable_len
        lock = cache.lock(found.node)
        slots = cache.take_states(1)
        cache.open_row(row, found.node, found.usable_len)
        cache.allocate(row, depth + 1)
        state = cache.try_checkpoint()
        if state is not None and depth > found.usable_len:
            if not cache.publish(row, key, depth, state).state_taken:
                cache.drop_checkpoint(state)
        elif state is not None:
            cache.drop_checkpoint(state)
        published = depth if state is not None else found.usable_len
        cache.free_states(slots)
        cache.release(row, published, depth + 1)
        cache.close_row(row)
        cache.unlock(lock)
        cache.check(2)
    return hit
