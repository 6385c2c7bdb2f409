"""A picture of the tree in text: for error messages and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachepawl.tree.node import Node

if TYPE_CHECKING:
    from cachepawl.tree.radix_tree import RadixTree

LINE_LIMIT = 200
"""Nodes drawn unless told otherwise."""
RUN_LIMIT = 4
"""Runs of pages drawn per node."""


def render(tree: RadixTree, max_lines: int) -> str:
    """One line of totals, then one line a node, indented by its depth in the tree.

    `[start, end) pages state locks stamps`; locks are KV/state, stamps are the last
    uses of KV and of the state.  First pages of a namespace other than the empty one are
    marked with it.  Stops after `max_lines` nodes.  Reads a broken tree too.
    """
    lines = [
        f"tree page {tree.page_tokens}, clock {tree.clock}, {tree.num_nodes} nodes; "
        f"KV {tree.full_evictable} evictable + {tree.full_protected} protected tokens; "
        f"states {tree.state_evictable} + {tree.state_protected}"
        + (f"; windows {tree.window_evictable} + {tree.window_protected}" if tree.windows else "")
    ]
    todo = [(child, 0) for child in reversed(tree.root.children.values())]
    while todo:
        if len(lines) > max_lines:
            lines.append(f"… more than {max_lines} nodes")
            break
        node, depth = todo.pop()
        namespace = b"" if depth else node.hook[: -tree.page_tokens * tree.token_bytes]
        mark = f" in {namespace!r}" if namespace else ""
        lines.append("  " * (depth + 1) + describe(node) + mark)
        todo.extend((child, depth + 1) for child in reversed(node.children.values()))
    return "\n".join(lines)


def describe(node: Node) -> str:
    """One node in one line."""
    runs = [f"{a}" if n == 1 else f"{a}..{a + n - 1}" for a, n in node.pages.runs[:RUN_LIMIT]]
    if len(node.pages.runs) > RUN_LIMIT:
        runs.append(f"… {len(node.pages.runs)} runs")
    text = f"[{node.start}, {node.end}) pages {','.join(runs) or 'none'}"
    if node.window is not None:
        text += f" window {node.window.count}"
    if node.state is not None:
        text += f" state {node.state} used {node.state_stamp}"
    if node.full_lock or node.state_lock:
        text += f" locked {node.full_lock}/{node.state_lock}"
        text += f"/{node.window_lock}" if node.window_lock else ""
    else:
        text += f" kv used {node.kv_stamp}" if node.kv_stamp else " cold"
    return text
