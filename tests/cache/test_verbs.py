"""One verb at a time, where the way of using it is the point."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import DoubleFree, InvariantError, LockError, OutOfPages
from cachepawl.pool.geometry import Geometry
from cachepawl.tree import Node
from cachepawl.types import Key, Runs

MakeGeometry = Callable[..., Geometry]


def key(*tokens: int) -> Key:
    return Key(array("q", tokens).tobytes())


@pytest.fixture
def cache(make_geometry: MakeGeometry) -> HybridPrefixCache:
    return HybridPrefixCache(make_geometry(2, 8, 3), states_per_request=1)


def publish(cache: HybridPrefixCache, row: int, *tokens: int, state: bool = True) -> Node:
    """A request that computes all of `tokens`, publishes them and is gone."""
    cache.open_row(row, cache.tree.root, 0)
    cache.allocate(row, len(tokens))
    slot = cache.take_states(1)[0] if state else None
    node = cache.publish(row, key(*tokens), len(tokens), slot).node
    cache.close_row(row)
    cache.check(2)
    return node


def test_a_row_never_shrinks(cache: HybridPrefixCache) -> None:
    cache.open_row(1, cache.tree.root, 0)
    assert cache.allocate(1, 5).count == 3
    for tokens in (6, 5, 1, 0):
        assert cache.allocate(1, tokens) == Runs()
    cache.check(2)


def test_a_row_that_gave_pages_back_can_only_end(cache: HybridPrefixCache) -> None:
    # Else the tree, or the next token, would get a page that is somebody else's by now.
    cache.open_row(1, cache.tree.root, 0)
    cache.allocate(1, 6)
    cache.release(1, 4, 6)
    for verb in (
        lambda: cache.allocate(1, 6),
        lambda: cache.allocate(1, 9),
        lambda: cache.publish(1, key(*range(6)), 6, None),
    ):
        with pytest.raises(InvariantError, match=r"I7 row 1 gave back pages \[\(2, 3\)\]"):
            verb()
    cache.check(2)
    cache.release(1, 0, 4)
    cache.close_row(1)
    cache.check(2)


def test_publish_refuses_what_does_not_fit_together(cache: HybridPrefixCache) -> None:
    node = publish(cache, 1, 1, 2, 3, 4)
    lock = cache.lock(node)
    cache.open_row(2, node, 4)
    cache.allocate(2, 6)
    long, short = key(1, 2, 3, 4, 5, 6, 7, 8), key(1, 2, 3, 4)
    for what, depth, complaint in (
        (long, 2, "owned_from 4 is outside"),  # inside the shared part
        (long, 5, "must be multiples of 2 tokens"),  # inside a page
        (long, 8, "1 pages for tokens"),  # deeper than the row
        (short, 6, "a key of 4 tokens for depth 6"),
    ):
        with pytest.raises(ValueError, match=complaint):
            cache.publish(2, what, depth, None)
        cache.check(2)
    assert cache.publish(2, key(1, 2, 3, 4, 5, 6), 6, None).node.end == 6
    cache.unlock(lock)
    cache.check(2)


def test_a_request_may_publish_a_state_where_it_already_published_kv(
    cache: HybridPrefixCache,
) -> None:
    cache.open_row(1, cache.tree.root, 0)
    cache.allocate(1, 4)
    (slot,) = cache.take_states(1)
    cache.publish(1, key(1, 2, 3, 4), 4, None)
    done = cache.publish(1, key(1, 2, 3, 4), 4, slot)
    assert done.state_taken
    assert not done.replaced
    again = cache.publish(1, key(1, 2, 3, 4), 4, cache.take_states(1)[0])
    assert not again.state_taken
    assert cache.counters.states_published == cache.counters.states_declined == 1
    assert cache.row_states == 1
    cache.check(2)


def test_the_tree_outlives_the_request(cache: HybridPrefixCache) -> None:
    node = publish(cache, 1, 1, 2, 3, 4)
    found = cache.match(key(1, 2, 3, 4, 5), 4)
    assert (found.node, found.usable_len) == (node, 4)


def test_a_hit_inside_an_edge_shares_only_what_it_uses(make_geometry: MakeGeometry) -> None:
    # Without states a prompt may leave an edge in its middle; the rest is not its own.
    cache = HybridPrefixCache(make_geometry(2, 8, 3, states=False), states_per_request=0)
    publish(cache, 1, *range(8), state=False)
    found = cache.match(key(0, 1, 2, 3, 9, 9))
    assert (found.usable_len, found.node.end) == (4, 8)
    lock = cache.lock(found.node)
    cache.open_row(2, found.node, found.usable_len)
    tail = cache.allocate(2, 6)
    assert cache.refs.pages(2, 0, 9) == cache.tree.path_pages(found.node).slice(0, 2) + tail
    done = cache.publish(2, key(0, 1, 2, 3, 9, 9), 6, None)
    assert not done.replaced
    cache.unlock(lock)
    cache.close_row(2)
    cache.check(2)
    assert cache.match(key(*range(8))).kv_len == 8


def test_duplicates_are_freed_and_the_row_goes_on_with_the_trees_pages(
    cache: HybridPrefixCache,
) -> None:
    for row in (1, 2):
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, 5)
    first = cache.publish(1, key(1, 2, 3, 4), 4, None)
    assert not first.replaced
    second = cache.publish(2, key(1, 2, 3, 4), 4, None)
    assert second.replaced
    assert second.node is first.node
    assert cache.refs.pages(2, 0, 2) == cache.refs.pages(1, 0, 2)
    assert cache.refs.pages(2, 2, 3) != cache.refs.pages(1, 2, 3)
    assert cache.counters.duplicate_pages == 2
    cache.check(2)


def test_room_for_one_request_is_exact(make_geometry: MakeGeometry) -> None:
    for states in (0, 1, 3):
        cache = HybridPrefixCache(make_geometry(2, 8, 3), states_per_request=states)
        cache.take_states(states)
        cache.open_row(1, cache.tree.root, 0)
        most = cache.room_for_one_request()
        assert most == (7 - states) * 3 * 2
        with pytest.raises(OutOfPages):
            cache.allocate(1, most + 1)
        assert cache.allocate(1, most).count == most // 2
    capped = HybridPrefixCache(make_geometry(2, 8, 3), states_per_request=1, page_cap=4)
    assert capped.room_for_one_request() == 8


def test_eviction_in_vain_does_not_happen(cache: HybridPrefixCache) -> None:
    publish(cache, 1, 1, 2, 3, 4)
    assert not cache.make_room_for_states(8)
    assert not cache.make_room_for_pages(7 * 3 + 1)
    assert cache.counters.evicted_tokens == cache.counters.evicted_states == 0
    assert cache.make_room_for_states(7)
    assert (cache.counters.evicted_tokens, cache.counters.evicted_states) == (4, 1)


def test_a_state_is_evicted_rather_than_kv_that_frees_no_frame(make_geometry: MakeGeometry) -> None:
    # Every KV frame holds a page of the running request, so no leaf could free one.
    cache = HybridPrefixCache(make_geometry(1, 4, 4), states_per_request=1)
    publish(cache, 1, 1, 2, 3)
    publish(cache, 2, 7, state=True)
    cache.open_row(3, cache.tree.root, 0)
    cache.allocate(3, 1)
    assert cache.frames.kv_frames == 1 + (cache.frames.kv_pages > 4)
    before = cache.counters.evicted_tokens
    cache.take_states(1)
    assert cache.counters.evicted_tokens == before
    assert cache.counters.evicted_states == 1
    cache.check(2)


def test_wrong_frees(cache: HybridPrefixCache) -> None:
    slots = cache.take_states(2)
    for wrong in ([slots[0], slots[0]], [slots[1], 0], [99]):
        with pytest.raises(DoubleFree, match="holds no state"):
            cache.free_states(wrong)
    assert cache.row_states == cache.frames.states == 2
    cache.free_states(slots)
    cache.check(2)


def test_reset_waits_for_requests(cache: HybridPrefixCache) -> None:
    cache.open_row(1, cache.tree.root, 0)
    with pytest.raises(LockError, match="1 requests are open and hold 0 states"):
        cache.reset()
    cache.close_row(1)
    slots = cache.take_states(1)
    with pytest.raises(LockError, match="0 requests are open and hold 1 states"):
        cache.reset()
    cache.free_states(slots)
    lock = cache.lock(publish(cache, 1, 1, 2))
    with pytest.raises(LockError, match="locked"):
        cache.reset()
    cache.unlock(lock)
    cache.reset()
    assert cache.match(key(1, 2)).kv_len == 0
    cache.check(2)


def test_lock_path_lets_the_state_go(cache: HybridPrefixCache) -> None:
    lock = cache.lock_path(publish(cache, 1, 1, 2, 3, 4))
    assert cache.evict_states(1) == 1
    assert cache.match(key(1, 2, 3, 4)).kv_len == 4
    cache.unlock(lock)
    cache.check(2)


def test_checks_name_the_rule_and_show_the_cache(cache: HybridPrefixCache) -> None:
    publish(cache, 1, 1, 2, 3, 4)
    cache.refs.tree_pages += 1
    cache.check(0)
    for level in (1, 2):
        with pytest.raises(InvariantError, match=r"(?s)I6 KV tokens.*frames_free.*\[0, 4\)"):
            cache.check(level)
    cache.refs.tree_pages -= 1
    page = cache.refs.frames
    page._pinned[1] += 1
    page._pinned[2] -= 1
    with pytest.raises(InvariantError, match="I1 frame 1: 1 pinned, 0 found"):
        cache.check(2)


def test_a_decode_step_after_the_pages_were_exchanged(cache: HybridPrefixCache) -> None:
    # The reservation still lies behind the row's old page, not behind the tree's.
    for row in (1, 2, 3):
        cache.open_row(row, cache.tree.root, 0)
        cache.allocate(row, 2)
    for row in (1, 2):
        node = cache.publish(row, key(7, 8), 2, None).node
        cache.lock_path(node)
    (page,) = cache.next_pages([2])
    assert cache.refs.rows[2].last_page == page
    cache.check(2)


def test_a_decode_step_of_a_row_that_gave_pages_back(cache: HybridPrefixCache) -> None:
    cache.open_row(1, cache.tree.root, 0)
    cache.allocate(1, 6)
    cache.release(1, 4, 6)
    with pytest.raises(InvariantError, match="I7 row 1 gave back"):
        cache.next_pages([1])
