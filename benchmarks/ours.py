"""Our three columns: the cache's verbs, the same through SGLang's interface, the bare tree.

`Ours` calls what the SGLang adapter calls, and makes our key from SGLang's token array
inside the timed part.  Tree, page references and frames are all at work; frames are those
of Qwen3-Next-80B-A3B (24576 B of KV a token, 73.7 MiB a state), of which only the sizes
matter: no byte of an arena is allocated.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey

from benchmarks.clock import Timed
from benchmarks.subject import Hit, Room, Sizes, ignore
from benchmarks.workload import CHUNK, Batch, Tokens
from cachepawl.cache import HybridPrefixCache
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock, Match, Node, RadixTree
from cachepawl.types import Key, Runs
from cachepawl_launch.adapter import CachepawlPrefixCache
from cachepawl_launch.token_allocator import ArenaTokenAllocator

KV = KvShape(layers=12, heads=2, head_dim=256, v_head_dim=256, itemsize=2)
STATE = StateShape(
    layers=36,
    conv_shapes=((8192, 3),),
    conv_itemsize=2,
    temporal_shape=(32, 128, 128),
    temporal_itemsize=4,
)
SPARE = 2
"""Frames for this many times the KV: filling a tree must not evict, however pages fall."""


def frames_of(page: int, tokens: int) -> int:
    """Whole frames that hold so much KV, and the sink."""
    return 1 + -(-tokens // Geometry(KV, STATE, page).tokens_per_frame)


def make_cache(page: int, frames: int) -> HybridPrefixCache:
    """A cache over so many frames."""
    return HybridPrefixCache(Geometry(KV, STATE, page, frames), states_per_request=3)


def key_of(tokens: Tokens) -> Key:
    """What the adapter does with a request's token array."""
    return Key(tokens.tobytes())


class Ours:
    """`HybridPrefixCache`."""

    name = "ours"

    def __init__(self, page: int, room: Room) -> None:
        self.page = page
        self.cache = self.make(page, frames_of(page, SPARE * room.tokens) + 2 * room.states)
        self._row = 0

    def make(self, page: int, frames: int) -> HybridPrefixCache:
        """The cache that is measured."""
        return make_cache(page, frames)

    # -- what is not timed ------------------------------------------------------------

    def _start(self, tokens: Tokens) -> tuple[int, Lock]:
        """A request is admitted: its row starts on what is cached."""
        match = self.cache.match(key_of(tokens), len(tokens) - 1)
        receipt = self.cache.lock(match.node)
        self._row += 1
        self.cache.open_row(self._row, match.node, match.usable_len)
        return self._row, receipt

    def _publish(self, row: int, receipt: Lock, tokens: Tokens) -> Timed:
        (slot,) = self.cache.take_states(1)
        cache = self.cache

        def call() -> Any:
            return cache.publish(row, Key(tokens.tobytes()), len(tokens), slot)

        def finish(done: Any) -> None:
            if not done.state_taken:
                cache.free_states((slot,))
            cache.close_row(row)
            cache.unlock(receipt)

        return Timed(call, finish)

    def fill(self, batch: Batch) -> None:
        """All but the last tokens at once, those page by page, the requests in turn."""
        running = [(*self._start(tokens), tokens) for tokens in batch]
        length = len(batch[0])
        steps = range(length - CHUNK, length + 1, self.page)
        for depth in steps:
            for row, _, _ in running:
                self.cache.allocate(row, depth)
        for row, receipt, tokens in running:
            timed = self._publish(row, receipt, tokens)
            timed.finish(timed.call())

    def sizes(self) -> Sizes:
        tree = self.cache.tree
        return Sizes(
            tree.full_evictable + tree.full_protected, tree.state_evictable + tree.state_protected
        )

    # -- what is timed ----------------------------------------------------------------

    def match(self, tokens: Tokens, seen: Callable[[Hit], None]) -> Timed:
        match, limit = self.cache.match, len(tokens)

        def finish(found: Match) -> None:
            seen(Hit(found.usable_len, found.kv_len, found.node))

        return Timed(lambda: match(Key(tokens.tobytes()), limit), finish)

    def lock(self, node: Node, seen: Callable[[Any], None]) -> Timed:
        lock = self.cache.lock
        return Timed(lambda: lock(node), seen)

    def unlock(self, node: Node, receipt: Any) -> Timed:
        unlock = self.cache.unlock
        return Timed(lambda: unlock(receipt), ignore)

    def lock_and_unlock(self, node: Node) -> Timed:
        cache = self.cache
        return Timed(lambda: cache.unlock(cache.lock(node)), ignore)

    def insert(self, tokens: Tokens) -> Timed:
        row, receipt = self._start(tokens)
        self.cache.allocate(row, len(tokens))
        return self._publish(row, receipt, tokens)

    def evict_state(self) -> Timed:
        evict = self.cache.evict_states
        return Timed(lambda: evict(1), ignore)

    def evict_leaf(self) -> Timed:
        evict, page = self.cache.evict_tokens, self.page
        return Timed(lambda: evict(page), ignore)


class Adapter(Ours):
    """The same cache called as SGLang calls it, where the interfaces correspond.

    SGLang publishes with `checkpoint`, which does more than an insert; that row is `Ours`.
    """

    name = "adapter"

    def __init__(self, page: int, room: Room) -> None:
        super().__init__(page, room)
        allocator = ArenaTokenAllocator(
            self.cache, page_size=page, dtype=torch.bfloat16, device="cpu", kvcache=None
        )
        params = SimpleNamespace(
            req_to_token_pool=None,
            token_to_kv_pool_allocator=allocator,
            page_size=page,
            enable_mamba_extra_buffer=True,
            enable_metrics=False,
            enable_kv_cache_events=False,
        )
        self.adapter = CachepawlPrefixCache(
            SimpleNamespace(params=params), check_level=0, split_prefill=True
        )

    def match(self, tokens: Tokens, seen: Callable[[Hit], None]) -> Timed:
        match, params = self.adapter.match_prefix, MatchPrefixParams(key=RadixKey(tokens))

        def finish(found: Any) -> None:
            seen(Hit(found.device_prefix_len, found.full_kv_hit_length, found.last_device_node))

        return Timed(lambda: match(params), finish)

    def lock(self, node: Node, seen: Callable[[Any], None]) -> Timed:
        lock = self.adapter.inc_lock_ref
        return Timed(lambda: lock(node), seen)

    def unlock(self, node: Node, receipt: Any) -> Timed:
        unlock, params = self.adapter.dec_lock_ref, receipt.to_dec_params()
        return Timed(lambda: unlock(node, params), ignore)

    def lock_and_unlock(self, node: Node) -> Timed:
        adapter = self.adapter
        return Timed(
            lambda: adapter.dec_lock_ref(node, adapter.inc_lock_ref(node).to_dec_params()), ignore
        )

    def evict_state(self) -> Timed:
        evict, params = self.adapter.evict, EvictParams(mamba_num=1)
        return Timed(lambda: evict(params), ignore)

    def evict_leaf(self) -> Timed:
        evict, params = self.adapter.evict, EvictParams(num_tokens=self.page)
        return Timed(lambda: evict(params), ignore)


class BareTree:
    """`RadixTree` alone, key included: less than `Ours` by page references and frames."""

    name = "bare tree"

    def __init__(self, page: int, room: Room) -> None:
        self.page = page
        self.tree = RadixTree(page)
        self._next_page = self._next_state = 1

    def fill(self, batch: Batch) -> None:
        for tokens in batch:
            self.insert(tokens).call()

    def sizes(self) -> Sizes:
        tree = self.tree
        return Sizes(
            tree.full_evictable + tree.full_protected, tree.state_evictable + tree.state_protected
        )

    def match(self, tokens: Tokens, seen: Callable[[Hit], None]) -> Timed:
        match, limit = self.tree.match, len(tokens)

        def finish(found: Match) -> None:
            seen(Hit(found.usable_len, found.kv_len, found.node))

        return Timed(lambda: match(Key(tokens.tobytes()), limit), finish)

    def lock(self, node: Node, seen: Callable[[Any], None]) -> Timed:
        lock = self.tree.lock
        return Timed(lambda: lock(node), lambda locked: seen(locked.receipt))

    def unlock(self, node: Node, receipt: Lock) -> Timed:
        unlock = self.tree.unlock
        return Timed(lambda: unlock(receipt), ignore)

    def lock_and_unlock(self, node: Node) -> Timed:
        tree = self.tree
        return Timed(lambda: tree.unlock(tree.lock(node).receipt), ignore)

    def insert(self, tokens: Tokens) -> Timed:
        have = self.tree.match(key_of(tokens), len(tokens) - 1).usable_len
        count = (len(tokens) - have) // self.page
        pages, state = Runs([(self._next_page, count)]), self._next_state
        self._next_page += count
        self._next_state += 1
        insert = self.tree.insert

        def call() -> Any:
            return insert(Key(tokens.tobytes()), pages, owned_from=have, state=state)

        return Timed(call, ignore)

    def evict_state(self) -> Timed:
        tree = self.tree
        return Timed(lambda: tree.evict_state(tree.state_victim()), ignore)

    def evict_leaf(self) -> Timed:
        tree = self.tree
        return Timed(lambda: tree.evict_kv(tree.kv_victim()), ignore)
