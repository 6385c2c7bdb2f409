"""The tree when it is large: the cost of a verb must follow the path, not the tree.

Trees of a thousand, thirty thousand and a million nodes, same shape (stems of 8 pages with
100 leaves of 2 pages each, every leaf with a state), page 16.  Medians of the CPU time of
one call, on the bare tree, keys made beforehand:

    build          an insert of a leaf while the tree grows to its size (mean)
    match          a leaf drawn at random, found whole
    lock + unlock  the same leaf
    evict leaf     the least recently used
    bytes          a node, its links, key, pages and lists, by the process's resident memory

Beside it the match of a single prompt of a million tokens, on paths of 1 and of 1024 nodes.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks.clock import collector_off, median_us, now
from cachepawl.tree import RadixTree
from cachepawl.types import Key, Runs

SIZES = (1_000, 30_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
PAGE = 16
STEM, LEAF, FAN = 8 * PAGE, 2 * PAGE, 100
CALLS = 2000
MILLION = 1 << 20
PATHS = (1, 1024)
ScaleRow = dict[str, Any]


def _key(stem: int, leaf: int) -> Key:
    tokens = array("q", [stem] * STEM)
    tokens.extend([leaf] * LEAF)
    return Key(tokens.tobytes())


def _grow(nodes: int) -> tuple[RadixTree, float]:
    """A tree of that many nodes, and nanoseconds an insert."""
    tree = RadixTree(PAGE)
    spent = page = 0
    for n in range(nodes * FAN // (FAN + 1)):
        stem, leaf = divmod(n, FAN)
        key = _key(stem, leaf)
        have = STEM if leaf else 0
        pages = Runs([(page, (STEM + LEAF - have) // PAGE)])
        page += pages.count
        before = now()
        tree.insert(key, pages, owned_from=have, state=n)
        spent += now() - before
    return tree, spent / max(1, nodes * FAN // (FAN + 1))


def _time(calls: int, call: Callable[[int], object]) -> float:
    times = []
    for i in range(calls):
        before = now()
        call(i)
        times.append(now() - before)
    return median_us(times)


def measure_size(nodes: int) -> ScaleRow:
    """One row: a tree of about that many nodes."""
    process = psutil.Process()
    with collector_off():
        before = process.memory_info().rss
        tree, insert = _grow(nodes)
        grown = process.memory_info().rss - before
        count = tree.num_nodes
        draw = random.Random(1)
        leaves = tree.num_nodes * FAN // (FAN + 1)
        keys = [_key(*divmod(draw.randrange(leaves), FAN)) for _ in range(CALLS)]
        match = _time(CALLS, lambda i: tree.match(keys[i]))
        ends = [tree.peek(key).node for key in keys]
        lock = _time(CALLS, lambda i: tree.unlock(tree.lock(ends[i]).receipt))

        def evict(_: int) -> None:
            victim = tree.kv_victim()
            assert victim is not None
            tree.evict_kv(victim)

        gone = _time(min(CALLS, leaves // 2), evict)
        tree.check(1)
    return {
        "nodes": count,
        "build_us": round(insert / 1000, 2),
        "match_us": match,
        "lock_unlock_us": lock,
        "evict_us": gone,
        "bytes_per_node": grown // count,
    }


def measure_million(nodes: int, calls: int) -> ScaleRow:
    """A match of a million tokens over a path of that many nodes."""
    tree = RadixTree(PAGE)
    step = MILLION // nodes
    tokens = array("q", range(MILLION))
    whole = Key(tokens.tobytes())
    for n in range(nodes):
        key = Key(whole.tokens[: (n + 1) * step * tree.token_bytes])
        pages = Runs([(n * step // PAGE, step // PAGE)])
        tree.insert(key, pages, owned_from=n * step, state=n)
    assert tree.match(whole).usable_len == MILLION
    with collector_off():
        match = _time(calls, lambda _: tree.match(Key(tokens.tobytes())))
    return {"tokens": MILLION, "path_nodes": nodes, "match_us": match}


def measure_all(quick: bool, note: Callable[[str], None]) -> tuple[list[ScaleRow], list[ScaleRow]]:
    """Rows by size of the tree, and rows of the million tokens."""
    sizes = []
    for nodes in QUICK_SIZES if quick else SIZES:
        note(f"a tree of {nodes} nodes")
        sizes.append(measure_size(nodes))
    note("a million tokens")
    return sizes, [measure_million(nodes, 20) for nodes in PATHS]
