"""Two small tiers, and requests of a line each: pages of 4 tokens, frames of 3 pages."""

from __future__ import annotations

from array import array
from typing import Any

from moving import Moving, Simple

from cachepawl.cache import HybridPrefixCache, Published
from cachepawl.offload.load_backs import Load
from cachepawl.offload.matching import TierMatch
from cachepawl.offload.options import TierOptions
from cachepawl.offload.tier import HostTier
from cachepawl.offload.writing import WRITE_POLICIES
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Node
from cachepawl.types import Key

PAGE = 4
FULL = 3
KV = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
STATE = StateShape(1, (), 2, ((FULL * PAGE * KV.entry_bytes - 16) // 4,), 4)


def geometry(frames: int, *, states: bool = True) -> Geometry:
    """Of so many frames, the sink included."""
    return Geometry(KV, STATE if states else None, PAGE, frames, frame_pages=FULL)


def key_of(text: str) -> Key:
    """One token a letter."""
    return Key(array("q", map(ord, text)).tobytes())


class Rig:
    """A device, a host, and what their bytes stand for."""

    def __init__(
        self,
        *,
        frames: int = 12,
        host_frames: int = 20,
        writing: str = "write_through",
        states: bool = True,
        tier_type: type[HostTier] = HostTier,
        **options: Any,
    ) -> None:
        self.cache = HybridPrefixCache(geometry(frames, states=states), states_per_request=1)
        self.here, self.there = Simple(), Simple()
        self.moving = Moving(lambda: self.here, self.there, PAGE)
        self.failures: list[str] = []
        usual = {"headroom_frames": 0}
        self.tier = tier_type(
            self.cache,
            geometry(host_frames, states=states),
            self.moving,
            WRITE_POLICIES[writing](),
            options=TierOptions(**{**usual, **options}),
        )
        self.tier.on_failure = self.failures.append
        self.states = states
        self._rows = 0

    @property
    def host(self) -> HybridPrefixCache:
        return self.tier.host

    def run(self, text: str, *, state: bool = True, depth: int | None = None) -> Published:
        """A request that publishes `text`, or its first `depth` tokens, and is gone."""
        cache, key = self.cache, key_of(text)
        depth = len(text) if depth is None else depth
        self._rows += 1
        row = self._rows
        found = self.tier.match(key, depth - 1).device
        lock = cache.lock(found.node)
        cache.open_row(row, found.node, found.usable_len)
        self.tier.used(found.node)
        cache.allocate(row, depth)
        pages = list(cache.refs.pages(row, 0, depth))
        for i in range(found.usable_len, depth):
            self.here.kv[pages[i // PAGE], i % PAGE] = text[: i + 1]
        slot = None
        if state and self.states:
            slot = cache.take_states(1)[0]
            self.here.states[slot] = text[:depth]
        done = cache.publish(row, key, depth, slot)
        self.tier.published(done)
        if slot is not None and not done.state_taken:
            cache.free_states((slot,))
        cache.unlock(lock)
        cache.close_row(row)
        self.check()
        return done

    def settle_writes(self) -> None:
        """Polls until nothing is under way or wanted."""
        for _ in range(100):
            self.tier.poll()
            self.check()
            if not self.moving.under_way:
                return
            self.moving.end(0)

    def load(self, name: str, text: str) -> Load:
        came = self.tier.load(name, key_of(text), self.match(text))
        self.check()
        return came

    def match(self, text: str) -> TierMatch:
        return self.tier.match(key_of(text), len(text) - 1)

    def on_host(self, text: str) -> int:
        """Tokens of a text that the host can serve."""
        return self.host.tree.peek(key_of(text)).usable_len

    def on_device(self, text: str) -> int:
        return self.cache.tree.peek(key_of(text)).usable_len

    def node(self, text: str) -> Node:
        """The device's node that ends with a text."""
        node = self.cache.tree.peek(key_of(text)).deepest
        assert node.end == len(text)
        return node

    def evict_device(self) -> None:
        """All that is not locked."""
        self.cache.evict_tokens(10**6)

    def check(self) -> None:
        """Invariants, and that every byte is what its node stands for."""
        self.tier.check(1)
        self.tier.check(2)
        for cache, memory in ((self.cache, self.here), (self.host, self.there)):
            for node in cache.tree.walk():
                text = "".join(map(chr, array("q", cache.tree.path_key(node).tokens)))
                for i, page in enumerate(node.pages, node.start // PAGE):
                    for offset in range(PAGE):
                        wanted = text[: i * PAGE + offset + 1]
                        assert memory.kv[page, offset] == wanted
                if node.state is not None:
                    assert memory.states[node.state] == text
