"""A recorded cache under a seeded load, through the real writer."""

from __future__ import annotations

import random
from array import array
from pathlib import Path
from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.policy import POLICIES
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.record.recording import Put, Record, RecordingCache
from cachepawl.record.setup import setup_of
from cachepawl.record.wire import Start
from cachepawl.record.writer import Writer
from cachepawl.tree import Miss
from cachepawl.types import Key

PAGE = 4


def make_plain(frames: int = 10, policy: str = "lru") -> HybridPrefixCache:
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    state = StateShape(1, (), 2, (5 * PAGE * kv.entry_bytes // 4,), 4)
    return HybridPrefixCache(
        Geometry(kv, state, PAGE, frames), states_per_request=1, policy=POLICIES[policy]()
    )


class Load:
    """Requests that come, are answered and go; each names itself, as a server does."""

    def __init__(self, put: Put, seed: int = 1, policy: str = "lru") -> None:
        self.cache = RecordingCache(make_plain(policy=policy), put)
        self.draw = random.Random(seed)
        self.hits: dict[str, int] = {}
        self.missed: dict[str, list[Miss]] = {}
        self.prompts: list[list[int]] = []

    def request(self, name: str, tokens: list[int] | None = None, space: bytes = b"") -> None:
        cache = self.cache
        if tokens is None:
            tokens = self.near_the_last()
        self.prompts.append(tokens)
        raw = array("q", tokens).tobytes()
        key, limit = Key(raw, space), len(tokens) - 1
        found = cache.match(key, limit)
        branch = found.kv_len or None
        missed = self.missed[name] = cache.tree.explain(key, found, limit)
        cache.note_asked(name, len(tokens), found.usable_len, branch, missed)
        lock = cache.lock(found.node)
        row = len(self.hits)
        cache.begin(row, key, 1000 * row)
        slots: tuple[int, ...] = ()
        try:
            slots = cache.take_states(1)
            cache.open_row(row, found.node, found.usable_len)
            cache.allocate(row, len(tokens))
            cache.next_pages([row])
            depth = len(tokens) // PAGE * PAGE
            if depth > found.usable_len:
                done = cache.publish(row, key, depth, slots[0])
                slots = () if done.state_taken else slots
        except OutOfPages:
            depth = found.usable_len
        depth = max(depth, found.usable_len)
        cache.free_states(slots)
        if row in cache.refs.rows:
            cache.release(row, depth, 10**6)
        cache.note_ended(name, row, found.usable_len, 3, "length")
        if row in cache.refs.rows:
            cache.close_row(row)
        cache.unlock(lock)
        self.hits[name] = found.usable_len

    def near_the_last(self) -> list[int]:
        """What goes on with a recent prompt, leaves it somewhere, or is new."""
        tail = [self.draw.randrange(2) for _ in range(self.draw.randrange(5, 20))]
        if not self.prompts or self.draw.random() < 0.2:
            return tail
        base = self.draw.choice(self.prompts[-4:])
        pages = len(base) // PAGE
        cut = pages if self.draw.random() < 0.7 else self.draw.randrange(pages + 1)
        return (base[: cut * PAGE] + tail)[: 10 * PAGE]

    def run(self, requests: int) -> None:
        for i in range(requests):
            self.request(f"r{i}")
            if i % 40 == 39:
                self.cache.reset()


def write_log(
    path: Path,
    records: list[Record],
    *,
    salt: bytes = b"salt",
    part_bytes: int = 1 << 40,
    setup: dict[str, Any] | None = None,
) -> None:
    """Records through the real writer, in this process; closed.  Flushed every 50."""
    setup = {**(setup or setup_of(make_plain(), {})), "started": 0.0}
    start = min((float(str(record[1])) for record in records), default=0.0)
    writer = Writer(Start(str(path), salt, part_bytes, start, setup))
    for at in range(0, len(records), 50):
        writer._flushed = 0.0
        writer.add(records[at : at + 50])
    writer.close(complete=True)


def recorded(path: Path, requests: int = 60, *, policy: str = "lru", **how: Any) -> Load:
    """A log of a seeded load, and the load."""
    records: list[Record] = []
    load = Load(records.append, policy=policy)
    load.run(requests)
    write_log(path, records, setup=setup_of(make_plain(policy=policy), {}), **how)
    return load
