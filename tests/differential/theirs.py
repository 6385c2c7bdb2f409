"""SGLang's own `UnifiedRadixCache` under the verbs of the comparison.

Every verb says what left the tree, by page and slot id.  Nodes are named by the key that
ends on them, so that nothing here depends on where a tree has split an edge.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import torch
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType

from benchmarks.sglang_tree import StubRows, StubTokens, make_cache
from cachepawl.types import Key

FULL, MAMBA = ComponentType.FULL, ComponentType.MAMBA
NAMESPACES: dict[bytes, dict[str, str]] = {
    b"": {},
    b"x": {"extra_key": "x"},
    b"salt": {"cache_salt": "x"},
}
"""Namespaces of ours, and the arguments of `RadixKey` that make the same one."""


class Left(NamedTuple):
    """What left a tree in one step, sorted."""

    pages: tuple[int, ...] = ()
    states: tuple[int, ...] = ()


NOTHING = Left()


class Found(NamedTuple):
    """What a match said, in tokens, and the node it would lock."""

    usable: int
    kv: int
    node: int


class Pages(StubTokens):
    """Hands out nothing: keeps the pages that were freed."""

    def clear(self) -> None:
        super().clear()
        self.gone: list[int] = []

    def free(self, free_index: torch.Tensor) -> None:
        ids = free_index.tolist()
        size = self.page_size
        pages = [first // size for first in ids[::size]]
        whole = [page * size + offset for page in pages for offset in range(size)]
        assert ids == whole, f"SGLang freed {ids}: not whole pages of {size}"
        self.gone += pages

    def free_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        assert start_pos == 0
        self.free(free_index)


class States:
    """Keeps the slots that were freed."""

    def __init__(self) -> None:
        self.gone: list[int] = []

    def free(self, free_index: torch.Tensor) -> None:
        self.gone += free_index.tolist()


class Rows(StubRows):
    def __init__(self) -> None:
        self.mamba_allocator = States()


class Theirs:
    """One cache.  Valid inside `benchmarks.sglang_tree.sglang_context` of its page."""

    def __init__(self, core: str, page: int, *, has_states: bool) -> None:
        self.page = page
        self.has_states = has_states
        self.pool = Pages(page)
        self.rows = Rows()
        components = (FULL, MAMBA) if has_states else (FULL,)
        self.cache = make_cache(core, page, self.rows, self.pool, components)

    # Between the two worlds

    def _key(self, key: Key, limit: int | None = None) -> RadixKey:
        tokens = array("q", key.tokens)
        return RadixKey(tokens, limit=limit, **NAMESPACES[key.namespace])

    def _tokens(self, pages: list[int]) -> torch.Tensor:
        first = torch.tensor(pages, dtype=torch.int64).reshape(-1, 1) * self.page
        return (first + torch.arange(self.page)).reshape(-1)

    def taken(self) -> Left:
        """What was freed since the last call."""
        states = self.rows.mamba_allocator.gone
        left = Left(tuple(sorted(self.pool.gone)), tuple(sorted(states)))
        self.pool.gone.clear()
        states.clear()
        return left

    def _find(self, key: Key) -> tuple[int, int, int]:
        """Cached tokens, the deepest node on the path, its end.  Changes nothing."""
        length, node, end = self.cache.tree_core.match_full_device_prefix(self._key(key))
        return length, node, end

    def node(self, key: Key) -> int:
        """The node that ends where the key does."""
        length, node, end = self._find(key)
        assert length == end == len(key.tokens) // 8, f"no edge of SGLang's ends at {key}"
        return node

    def ends_at(self, key: Key) -> bool:
        """Whether an edge ends where the key does."""
        length, _, end = self._find(key)
        return length == end == len(key.tokens) // 8

    def sizes(self) -> tuple[int, int, int, int]:
        """KV evictable and protected in tokens, states evictable and protected."""
        cache = self.cache
        kv = cache.full_evictable_size(), cache.full_protected_size()
        if not self.has_states:
            return *kv, 0, 0
        return *kv, cache.mamba_evictable_size(), cache.mamba_protected_size()

    def check(self) -> None:
        """SGLang's own checks of its tree."""
        self.cache.tree_core.sanity_check([], [])

    # The verbs

    def match(self, key: Key, limit: int | None = None) -> Found:
        """A limit is what the scheduler passes: the rest of the key is not looked at."""
        found = self.cache.match_prefix(MatchPrefixParams(key=self._key(key, limit)))
        return Found(found.device_prefix_len, found.full_kv_hit_length, found.last_device_node)

    def path_pages(self, node: int) -> list[int]:
        """Pages from the root to the end of a node."""
        ids = self.cache.path_device_indices(node)
        return (ids[:: self.page] // self.page).tolist()

    def insert(self, key: Key, pages: list[int], owned_from: int, state: int | None) -> int:
        """Publish; `pages` are those of the whole key.  The tokens that were cached.

        A state that is not taken counts as freed.
        """
        done = self.cache.insert(
            InsertParams(
                key=self._key(key),
                value=self._tokens(pages),
                mamba_value=None if state is None else torch.tensor([state]),
                prev_prefix_len=owned_from,
            )
        )
        if state is not None and done.mamba_exist:
            self.rows.mamba_allocator.gone.append(state)
        return int(done.prefix_len)

    def lock(self, node: int, *, keep_state: bool) -> Any:
        """A receipt."""
        return self.cache.lock(node, () if keep_state else (MAMBA,))

    def unlock(self, receipt: Any) -> None:
        self.cache.unlock(receipt)

    def evict_kv(self, tokens: int) -> int:
        """SGLang's choice of leaves, until so many tokens are free.  How many were."""
        return int(self.cache.evict(EvictParams(num_tokens=tokens)).num_tokens_evicted)

    def evict_states(self, count: int) -> int:
        """SGLang's choice of states, until so many are free.  How many were."""
        return int(self.cache.evict(EvictParams(mamba_num=count)).mamba_num_evicted)

    def drop_kv(self, key: Key, stop: int) -> None:
        """Evict the leaf that ends where the key does, and its ancestors down to depth `stop`."""
        core = self.cache.tree_core
        self.node(key)
        while True:
            length, node, _ = self._find(key)
            assert length >= stop, f"SGLang evicted to {length}, not to {stop}, of {key}"
            if length == stop:
                return
            self.cache._apply_eviction_result(core.evict_device_leaf(node, False))

    def drop_state(self, key: Key, others: list[Key]) -> None:
        """Evict the state of one node, and only it; `others` are the other nodes with one.

        SGLang has no such verb.  All other states are locked, so it has no choice; and so is
        the node's KV, else it would take the whole leaf.  Its locks do not change its order.
        """
        held = [self.cache.lock(self.node(other), (FULL,)) for other in others]
        held.append(self.cache.lock(self.node(key), (MAMBA,)))
        assert self.evict_states(1) == 1
        for receipt in held:
            self.cache.unlock(receipt)

    def reset(self) -> None:
        """Forget everything: SGLang frees nothing, its caller clears the pools."""
        self.cache.reset()
        assert self.taken() == NOTHING
