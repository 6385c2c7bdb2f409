"""SGLang's own `UnifiedRadixCache` under the verbs of the comparison.

Every verb says what left the tree, by page and slot id.  Nodes are named by the key that
ends on them, so that nothing here depends on where a tree has split an edge.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import torch
from sglang.srt.mem_cache.allocator.swa import SWATokenToKVPoolAllocator
from sglang.srt.mem_cache.base_prefix_cache import EvictParams, InsertParams, MatchPrefixParams
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.unified_cache.component_type import ComponentType

from benchmarks.sglang_tree import StubRows, StubTokens, make_cache
from cachepawl.tree import WindowPart
from cachepawl.types import NO_PAGES, Key, Runs, namespace_of

FULL, MAMBA, SWA = ComponentType.FULL, ComponentType.MAMBA, ComponentType.SWA
NAMESPACES: dict[bytes, dict[str, str]] = {
    namespace_of(None, None): {},
    namespace_of("x", None): {"extra_key": "x"},
    namespace_of(None, "x"): {"cache_salt": "x"},
}
"""Namespaces of ours, and the arguments of `RadixKey` that make the same one."""


class Left(NamedTuple):
    """What left a tree in one step, sorted."""

    pages: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    """Pages of the sliding-window layers."""


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
        self.gone += self.pages(free_index)

    def free_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        assert start_pos == 0
        self.free(free_index)

    def pages(self, ids: torch.Tensor) -> list[int]:
        """Token ids as pages, of which there must be no parts."""
        size, tokens = self.page_size, ids.tolist()
        pages = [first // size for first in tokens[::size]]
        whole = [page * size + offset for page in pages for offset in range(size)]
        assert tokens == whole, f"SGLang speaks of {tokens}: not whole pages of {size}"
        return pages


class WindowedPages(SWATokenToKVPoolAllocator):
    """`Pages` of two pools, for full attention and for sliding windows.

    SGLang names a page of the window pool by the page of the full pool that it goes with.
    """

    def __init__(self, page: int) -> None:
        self.page_size = page
        self.device = "cpu"
        self.full_attn_allocator = Pages(page)
        self.window_of: dict[int, int] = {}
        self.gone = self.full_attn_allocator.gone
        self.gone_window: list[int] = []
        self._swa_req_ring = False

    def pages(self, ids: torch.Tensor) -> list[int]:
        return self.full_attn_allocator.pages(ids)

    def translate_swa_indices_for_transfer(self, kv_indices: torch.Tensor) -> torch.Tensor:
        window = [self.window_of[page] for page in self.pages(kv_indices)]
        return tokens_of(window, self.page_size)

    def set_full_to_swa_mapping(
        self, full_indices: torch.Tensor, swa_indices: torch.Tensor
    ) -> None:
        pairs = zip(self.pages(full_indices), self.pages(swa_indices), strict=True)
        self.window_of.update(pairs)

    def clear_full_to_swa_mapping(self, full_indices: torch.Tensor) -> None:
        for page in self.pages(full_indices):
            self.window_of.pop(page, None)

    def free_swa_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        for page in self.pages(free_index):
            if page in self.window_of:
                self.gone_window.append(self.window_of.pop(page))

    def free_full_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        self.gone += self.pages(free_index)

    def free_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        self.free_swa_segment(free_index, start_pos=start_pos)
        self.free_full_segment(free_index, start_pos=start_pos)


def tokens_of(pages: list[int], size: int) -> torch.Tensor:
    first = torch.tensor(pages, dtype=torch.int64).reshape(-1, 1) * size
    return (first + torch.arange(size)).reshape(-1)


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

    def __init__(
        self, core: str, page: int, *, has_states: bool, window: int | None = None
    ) -> None:
        """`window`: tokens of the sliding window, if the model has one."""
        self.page = page
        self.has_states = has_states
        self.window = window
        self.pool = Pages(page) if window is None else WindowedPages(page)
        self.rows = Rows()
        components = [FULL, *([SWA] if window else []), *([MAMBA] if has_states else [])]
        self.cache = make_cache(core, page, self.rows, self.pool, tuple(components), window=window)

    # Between the two worlds

    def _key(self, key: Key, limit: int | None = None) -> RadixKey:
        tokens = array("q", key.tokens)
        return RadixKey(tokens, limit=limit, **NAMESPACES[key.namespace])

    def taken(self) -> Left:
        """What was freed since the last call."""
        window = self.pool.gone_window if isinstance(self.pool, WindowedPages) else []
        lists = self.pool.gone, self.rows.mamba_allocator.gone, window
        left = Left(*(tuple(sorted(gone)) for gone in lists))
        for gone in lists:
            gone.clear()
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

    def insert(
        self,
        key: Key,
        pages: list[int],
        owned_from: int,
        state: int | None,
        window: WindowPart | None = None,
        *,
        whole_window: bool = False,
    ) -> int:
        """Publish; `pages` are those of the whole key.  The tokens that were cached.

        A state that is not taken counts as freed.  `window` as in our `insert`; or, with
        `whole_window`, each of the caller's pages has a window page of the same number.
        """
        params = InsertParams(
            key=self._key(key),
            value=tokens_of(pages, self.page),
            mamba_value=None if state is None else torch.tensor([state]),
            prev_prefix_len=owned_from,
        )
        if isinstance(self.pool, WindowedPages):
            own = pages[owned_from // self.page :]
            if whole_window:
                window = WindowPart(owned_from, Runs.of_pages(own))
            start, part = window or WindowPart(len(pages) * self.page, NO_PAGES)
            params.set_evicted_seqlen(SWA, start)
            ends = own[len(own) - part.count :]
            self.pool.window_of.update(zip(ends, part, strict=True))
        done = self.cache.insert(params)
        if state is not None and done.mamba_exist:
            self.rows.mamba_allocator.gone.append(state)
        return int(done.prefix_len)

    def lock(self, node: int, *, keep_state: bool) -> Any:
        """A receipt."""
        return self.cache.lock(node, () if keep_state else (MAMBA,))

    def hold_kv(self, key: Key) -> Any:
        """Lock the KV, and nothing else, down to the edge that a key ends on."""
        return self.cache.lock(self._find(key)[1], (SWA, MAMBA))

    def unlock(self, receipt: Any) -> None:
        self.cache.unlock(receipt)

    def evict_kv(self, tokens: int) -> int:
        """SGLang's choice of leaves, until so many tokens are free.  How many were."""
        return int(self.cache.evict(EvictParams(num_tokens=tokens)).num_tokens_evicted)

    def evict_states(self, count: int) -> int:
        """SGLang's choice of states, until so many are free.  How many were."""
        return int(self.cache.evict(EvictParams(mamba_num=count)).mamba_num_evicted)

    def evict_window(self, tokens: int) -> int:
        """SGLang's choice of windows, until so many tokens are free.  How many were."""
        return int(self.cache.evict(EvictParams(swa_num_tokens=tokens)).swa_num_tokens_evicted)

    def window_pages(self, pages: list[int]) -> list[int]:
        """Window pages that go with pages of a path."""
        assert isinstance(self.pool, WindowedPages)
        return [self.pool.window_of[page] for page in pages]

    def release_window(self, receipt: Any) -> None:
        """Give up the window part of a lock early."""
        self.cache.release_swa(receipt)

    def window_sizes(self) -> tuple[int, int]:
        """Window KV evictable and protected, in tokens."""
        return self.cache.swa_evictable_size(), self.cache.swa_protected_size()

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
        held = [self.cache.lock(self.node(other), (FULL, SWA)) for other in others]
        held.append(self.cache.lock(self.node(key), (MAMBA, SWA)))
        assert self.evict_states(1) == 1
        for receipt in held:
            self.cache.unlock(receipt)

    def reset(self) -> None:
        """Forget everything: SGLang frees nothing, its caller clears the pools."""
        self.cache.reset()
        assert self.taken() == NOTHING
