"""A picture of a cache as plain data, bounded in size: what `cachepawl map` draws.

Token ids and request ids are not in it, and namespaces only as digests.
"""

from __future__ import annotations

from typing import Any

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ArgumentError
from cachepawl.observe.cells import KINDS, draw_cells, frames_each
from cachepawl.observe.outline import outline

FORMAT = "cachepawl-map"
VERSION = 1
MOST_NODES = 2000
"""Entries of the tree that a picture may have at most."""
MOST_CELLS = 4096
"""Cells of frames, the same."""


def snapshot(
    cache: HybridPrefixCache,
    most_nodes: int = MOST_NODES,
    most_cells: int = MOST_CELLS,
    host: HybridPrefixCache | None = None,
) -> dict[str, Any]:
    """The cache now, and the host tier's where there is one.  Read only.

    ArgumentError for limits outside their range.

        bytes     totals by kind (`KINDS`); they add up to the arena
        tree      at most `most_nodes` entries (`outline`), which add up to the tree
        cells     at most `most_cells` cells of frames (`draw_cells`), which add up to `bytes`
        stats     the cache's own counters
        host      the same of the host tier, within the same limits; or None

    Cost: one walk of the tree and of the frames, whatever the limits.
    """
    for name, value, most in (
        ("most_nodes", most_nodes, MOST_NODES),
        ("most_cells", most_cells, MOST_CELLS),
    ):
        if not 1 <= value <= most:
            raise ArgumentError(f"{name} {value}: must be from 1 to {most}")
    geometry, tree = cache.geometry, cache.tree
    nodes = list(tree.walk())
    cells = draw_cells(cache, nodes, most_cells)
    page, kept = geometry.page_bytes, geometry.kept_bytes
    return {
        "format": FORMAT,
        "version": VERSION,
        "geometry": {
            "frames": geometry.num_frames,
            "frame_bytes": geometry.frame_bytes,
            "page_tokens": geometry.page_tokens,
            "page_bytes": page,
            "state_bytes": geometry.state_bytes,
            "kept_bytes": None if cache.checkpoints is None else kept,
        },
        "requests": len(cache.refs.rows),
        "bytes": dict(zip(KINDS, map(sum, zip(*cells, strict=True)), strict=True)),
        "tree": {
            "nodes": len(nodes),
            "entries": outline(tree, nodes, most_nodes, page_bytes=page, state_bytes=kept),
        },
        "cells": {
            "frames_each": frames_each(geometry.num_frames, most_cells),
            "bytes": cells,
        },
        "stats": cache.stats(),
        "host": None if host is None else snapshot(host, most_nodes, most_cells),
    }
