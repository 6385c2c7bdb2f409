"""The picture of a cache: it adds up to the whole, however little of it is shown."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_caches import SmallCache, small_caches

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ArgumentError
from cachepawl.observe.cells import KINDS
from cachepawl.observe.snapshot import MOST_CELLS, MOST_NODES, snapshot
from cachepawl.pool.frames import FREE, KV, SINK, STATE

SUMS = ("nodes", "tokens", "locked_tokens", "states", "locked_states", "state_locks")
LIMITS = st.integers(1, 12)


def totals(entries: Iterable[dict[str, Any]]) -> dict[str, int]:
    entries = list(entries)
    return {name: sum(entry[name] for entry in entries) for name in SUMS}


def picture(cache: HybridPrefixCache) -> bytes:
    """All that the cache consists of."""
    tree = cache.tree
    nodes = [
        (n.key, n.hook, n.pages.runs, n.state, n.full_lock, n.state_lock, n.kv_stamp, n.state_stamp)
        for n in tree.walk()
    ]
    lists = [[n.serial for n in tree.kv_list], [n.serial for n in tree.state_list]]
    rows = [(row, r.runs, r.count, r.shared, r.released) for row, r in cache.refs.rows.items()]
    frames = {k: v for k, v in vars(cache.frames).items() if k != "on_release"}
    return pickle.dumps((nodes, lists, rows, frames, cache.stats(), tree.clock))


@settings(max_examples=120, deadline=None)
@given(small_caches(), LIMITS, LIMITS)
def test_a_small_picture_adds_up_to_the_whole(
    cache: HybridPrefixCache, most_nodes: int, most_cells: int
) -> None:
    before = picture(cache)
    whole, small = snapshot(cache), snapshot(cache, most_nodes, most_cells)
    assert picture(cache) == before
    cache.check(2)
    assert len(small["tree"]["entries"]) <= most_nodes
    assert len(small["cells"]["bytes"]) <= most_cells
    assert totals(small["tree"]["entries"]) == totals(whole["tree"]["entries"])
    assert small["bytes"] == whole["bytes"]
    for name in ("geometry", "requests", "stats"):
        assert small[name] == whole[name]
    for drawn in (whole, small):
        assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
        columns = zip(*drawn["cells"]["bytes"], strict=True)
        assert dict(zip(KINDS, map(sum, columns), strict=True)) == drawn["bytes"]


@settings(max_examples=120, deadline=None)
@given(small_caches(), LIMITS)
def test_it_says_what_the_counters_say(cache: HybridPrefixCache, most: int) -> None:
    geometry, stats = cache.geometry, cache.stats()
    drawn = snapshot(cache, most, most)
    by_kind = drawn["bytes"]
    assert sum(by_kind.values()) == geometry.total_bytes
    token, page, state = geometry.entry_bytes, geometry.page_bytes, geometry.state_bytes
    assert by_kind == {
        "kv_evictable": stats["full_evictable_tokens"] * token,
        "kv_locked": stats["full_protected_tokens"] * token,
        "kv_requests": cache.refs.row_pages * page,
        "kv_stranded": stats["pages_stranded"] * page,
        "states_evictable": stats["state_evictable"] * state,
        "states_locked": stats["state_protected"] * state,
        "states_requests": cache.row_states * state,
        "padding": stats["frames_state"] * (geometry.frame_bytes - state),
        "free": stats["frames_free"] * geometry.frame_bytes,
        "sink": geometry.frame_bytes,
    }
    found = totals(drawn["tree"]["entries"])
    assert found["nodes"] == drawn["tree"]["nodes"] == stats["tree_nodes"]
    assert found["locked_tokens"] == stats["full_protected_tokens"]
    assert found["tokens"] - found["locked_tokens"] == stats["full_evictable_tokens"]
    assert found["locked_states"] == stats["state_protected"]
    assert found["states"] - found["locked_states"] == stats["state_evictable"]
    assert drawn["requests"] == stats["rows"]


@settings(max_examples=100, deadline=None)
@given(small_caches())
def test_a_whole_picture_has_every_node_and_every_frame(cache: HybridPrefixCache) -> None:
    drawn = snapshot(cache)
    entries, nodes = drawn["tree"]["entries"], list(cache.tree.walk())
    place = {node: i for i, node in enumerate(nodes)} | {cache.tree.root: -1}
    kv_order = list(cache.tree.kv_list)[::-1]
    state_order = list(cache.tree.state_list)[::-1]
    assert len(entries) == len(nodes)
    for entry, node in zip(entries, nodes, strict=True):
        assert node.parent is not None
        tokens = node.end - node.start
        locked_state = bool(node.state is not None and node.state_lock)
        assert {**entry, "namespace": None} == {
            "parent": place[node.parent], "nodes": 1, "start": node.start, "end": node.end,
            "tokens": tokens, "locked_tokens": tokens if node.full_lock else 0,
            "states": int(node.state is not None), "locked_states": int(locked_state),
            "kv_locks": node.full_lock, "state_locks": node.state_lock,
            "kv_rank": None if node.full_lock else kv_order.index(node),
            "state_rank": state_order.index(node) if node in state_order else None,
            "namespace": None,
        }  # fmt: skip
        assert (entry["namespace"] is None) == (node.parent is not cache.tree.root)
    assert drawn["cells"]["frames_each"] == 1
    kinds = {
        FREE: {"free"},
        SINK: {"sink"},
        STATE: {"states_evictable", "states_locked", "states_requests", "padding"},
        KV: {"kv_evictable", "kv_locked", "kv_requests", "kv_stranded"},
    }
    for kind, cell in zip(cache.frames.kind, drawn["cells"]["bytes"], strict=True):
        held = {name for name, size in zip(KINDS, cell, strict=True) if size}
        assert held <= kinds[kind]
        assert sum(cell) == cache.geometry.frame_bytes


@settings(max_examples=100, deadline=None)
@given(small_caches(), LIMITS)
def test_a_summary_is_where_something_had_to_be_left_out(
    cache: HybridPrefixCache, most: int
) -> None:
    entries = snapshot(cache, most_nodes=most)["tree"]["entries"]
    for i, entry in enumerate(entries):
        above = entries[entry["parent"]] if entry["parent"] >= 0 else None
        assert entry["parent"] < i
        assert above is None or above["nodes"] == 1
        assert entry["start"] == (above["end"] if above else 0)
        alone = entry["parent"] == -1 and entry["nodes"] == 1
        assert (entry["namespace"] is not None) == alone
    summaries = [entry["parent"] for entry in entries if entry["nodes"] > 1]
    assert len(summaries) == len(set(summaries))
    if cache.tree.num_nodes <= most:
        assert not summaries


def test_what_holds_most_is_shown() -> None:
    """Bytes of KV and of states, below a node as well."""
    small = SmallCache(1, 400, 2)
    texts = [[1] * 9, [2], [3] * 7, *([4, 4, i] for i in range(5)), [5, 5], [6] * 8]
    for text in texts:
        small.admit(0, text)
        # A state is as large as two tokens here; only [5, 5] gets one.
        small.finish(small.running[-1], 1 if text == [5, 5] else 0)
    entries = snapshot(small.cache, most_nodes=7)["tree"]["entries"]
    assert [(e["parent"], e["nodes"], e["tokens"], e["states"]) for e in entries] == [
        (-1, 1, 9, 0),
        (-1, 1, 1, 0),
        (-1, 1, 7, 0),
        (-1, 1, 2, 0),
        (3, 5, 5, 0),
        (-1, 1, 2, 1),
        (-1, 1, 8, 0),
    ]
    entries = snapshot(small.cache, most_nodes=4)["tree"]["entries"]
    assert [e["tokens"] for e in entries if e["nodes"] == 1] == [9, 7, 8]
    (rest,) = (e for e in entries if e["nodes"] > 1)
    assert (rest["nodes"], rest["tokens"], rest["states"], rest["end"]) == (8, 1 + 7 + 2, 1, 3)


def test_a_state_counts_with_its_bytes() -> None:
    small = SmallCache(1, 40, 2)
    for text, which in (([1, 1, 1], 0), ([2, 2], 1), ([3], 0)):
        small.admit(0, text)
        small.finish(small.running[-1], which)
    entries = snapshot(small.cache, most_nodes=2)["tree"]["entries"]
    assert [(e["nodes"], e["tokens"], e["states"]) for e in entries] == [(2, 4, 0), (1, 2, 1)]


def test_below_a_node_the_same_rule_holds() -> None:
    small = SmallCache(1, 40, 2)
    for text in ([1, 1, 2], [1, 1, 3, 3, 3], [1, 1, 4]):
        small.admit(0, text)
        small.finish(small.running[-1], 0)
    entries = snapshot(small.cache, most_nodes=3)["tree"]["entries"]
    assert [(e["parent"], e["nodes"], e["tokens"]) for e in entries] == [
        (-1, 1, 2),
        (0, 2, 2),
        (0, 1, 3),
    ]


def grown(leaves: int) -> HybridPrefixCache:
    """A tree that is a fan of chains, with a running request."""
    small = SmallCache(1, 400, 2)
    for i in range(leaves):
        small.admit(0, [7, i, i, 1000 + i])
        small.finish(small.running[-1], 1)
    small.admit(0, [7, 0, 0, 1000, 1])
    return small.cache


def test_a_large_tree_in_few_entries() -> None:
    cache = grown(60)
    whole = snapshot(cache)["tree"]["entries"]
    assert (len(whole), whole[0]["states"], whole[0]["kv_locks"]) == (61, 0, 1)
    few = snapshot(cache, most_nodes=5)["tree"]["entries"]
    assert [e["nodes"] for e in few].count(1) == 4
    rest = next(e for e in few if e["nodes"] > 1)
    assert rest["nodes"] == 57
    assert rest["tokens"] == 3 * 57
    assert rest["end"] == 4
    # Shown are the running request's chain and the two oldest others, which go before these.
    assert rest["kv_rank"] == 2


def test_one_entry_stands_for_all() -> None:
    cache = grown(60)
    (only,) = snapshot(cache, most_nodes=1)["tree"]["entries"]
    assert (only["nodes"], only["start"], only["end"]) == (61, 0, 4)
    # One request locks a chain of two nodes: one receipt.
    assert only["kv_locks"] == 1


def test_neither_tokens_nor_namespaces_are_told() -> None:
    small = SmallCache(1, 20, 4)
    for which in (0, 2, 3):
        small.admit(which, [77777, 88888])
        small.finish(small.running[-1], 1)
    drawn = snapshot(small.cache)
    text = json.dumps(drawn)
    assert not any(secret in text for secret in ("77777", "tenant", "other"))
    names = [entry["namespace"] for entry in drawn["tree"]["entries"]]
    assert names[0] == ""
    assert len(set(names)) == 3
    assert all(len(name) == 8 for name in names[1:])


@pytest.mark.parametrize(
    ("nodes", "cells"), [(0, 1), (1, 0), (-1, 1), (MOST_NODES + 1, 1), (1, MOST_CELLS + 1)]
)
def test_limits_have_limits(nodes: int, cells: int) -> None:
    with pytest.raises(ArgumentError, match="must be from 1 to"):
        snapshot(SmallCache(1, 4, 1).cache, nodes, cells)
