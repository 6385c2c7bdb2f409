"""The tree in a bounded number of entries: nodes, and summaries of the nodes left out.

What holds most bytes is shown first.  Below each shown node, all that is not shown is one
summary with its totals, so the entries always add up to the whole tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from cachepawl.tree import Node, RadixTree

DIGEST_DIGITS = 8
"""Hex digits that stand for a namespace."""


def outline(
    tree: RadixTree, nodes: Sequence[Node], most: int, *, page_bytes: int, state_bytes: int
) -> list[dict[str, Any]]:
    """Entries for all of `nodes` (the tree's, parents first), parents before children.

    An entry of one node is that node; one of more is a summary:

        parent          index of the entry above; -1 at the root
        nodes           how many it stands for
        start, end      tokens: where its edge starts, and the deepest end
        tokens, locked_tokens, states, locked_states
        kv_locks        open receipts on it or below
        state_locks     open receipts that keep a state of it
        kv_rank         unlocked nodes that would lose KV before it; None if all is locked
        state_rank      the same for states; None without an unlocked one
        namespace       of a single node at the root: "" or a digest; else None

    Cost: one pass for the bytes below each node, one for the entries.
    """
    shown = _choose(tree.root, _bytes_below(nodes, page_bytes, state_bytes), most)
    kv_rank, state_rank = _ranks(tree.kv_list), _ranks(tree.state_list)
    entries: list[dict[str, Any]] = []
    index: dict[Node, int] = {tree.root: -1}  # of the node's own entry, if it is shown
    rest: dict[int, dict[str, Any]] = {}  # summaries, by the entry above
    above: dict[Node, int] = {}  # of hidden nodes: the shown entry above
    for node in nodes:
        parent = node.parent
        assert parent is not None
        if node in shown:
            index[node] = len(entries)
            entry = _entry(index[parent], parent.end)
            entries.append(entry)
        else:
            at = index[parent] if parent in index else above[parent]
            above[node] = at
            if at not in rest:
                rest[at] = _entry(at, parent.end)
                entries.append(rest[at])
            entry = rest[at]
        alone = parent is tree.root and not entry["nodes"]
        entry["namespace"] = namespace_digest(tree, node) if alone else None
        # What is locked below a node counts among its own receipts already.
        entry["kv_locks"] += node.full_lock if parent in index else 0
        _add(entry, node, kv_rank.get(node), state_rank.get(node))
    return entries


def _bytes_below(nodes: Sequence[Node], page_bytes: int, state_bytes: int) -> dict[Node, int]:
    """Bytes of every node and all below it."""
    below = dict.fromkeys(nodes, 0)
    for node in reversed(nodes):
        own = node.pages.count * page_bytes + (node.state is not None) * state_bytes
        size = below[node] = below[node] + own
        if node.parent in below:
            below[node.parent] += size
    return below


def _choose(root: Node, below: Mapping[Node, int], most: int) -> Collection[Node]:
    """The nodes to show: what has most below it first, as long as the entries suffice.

    A parent of hidden nodes costs one entry more.
    """
    order = count()
    heap = [(-below[child], next(order), child) for child in root.children.values()]
    heapify(heap)
    hidden = {root: len(root.children)}  # children of shown nodes
    entries = int(bool(heap))
    while heap:
        _, _, node = heappop(heap)
        parent = node.parent
        assert parent is not None
        more = 1 + bool(node.children) - (hidden[parent] == 1)
        if entries + more > most:
            break
        entries += more
        hidden[parent] -= 1
        hidden[node] = len(node.children)
        for child in node.children.values():
            heappush(heap, (-below[child], next(order), child))
    return hidden.keys()


def _ranks(recency: Any) -> dict[Node, int]:
    """Places in a list that yields the newest first: 0 goes next."""
    return {node: rank for rank, node in enumerate(reversed(list(recency)))}


def _entry(parent: int, start: int) -> dict[str, Any]:
    return {
        "parent": parent, "nodes": 0, "start": start, "end": start, "tokens": 0,
        "locked_tokens": 0, "states": 0, "locked_states": 0, "kv_locks": 0, "state_locks": 0,
        "kv_rank": None, "state_rank": None, "namespace": None,
    }  # fmt: skip


def _add(entry: dict[str, Any], node: Node, kv_rank: int | None, state_rank: int | None) -> None:
    """Count a node into its entry, all but its receipts."""
    parent = node.parent
    assert parent is not None
    tokens = node.end - parent.end
    entry["nodes"] += 1
    entry["tokens"] += tokens
    entry["end"] = max(entry["end"], node.end)
    if node.full_lock:
        entry["locked_tokens"] += tokens
        entry["state_locks"] += node.state_lock
    if node.state is not None:
        entry["states"] += 1
        entry["locked_states"] += node.state_lock > 0
    for name, rank in (("kv_rank", kv_rank), ("state_rank", state_rank)):
        if rank is not None:
            known = entry[name]
            entry[name] = rank if known is None else min(known, rank)


def namespace_digest(tree: RadixTree, node: Node) -> str:
    """What stands for the namespace of a node at the root; "" for the empty one."""
    namespace = node.hook[: -tree.page_tokens * tree.token_bytes]
    return hashlib.sha256(namespace).hexdigest()[:DIGEST_DIGITS] if namespace else ""
