"""The invariants of the tree.  Read-only; each failure names its rule and dumps the tree.

I2, I3  locks add up: counted again from the open receipts, per kind
I4      a node is on a list exactly when that kind is resident and unlocked; lists are in
        order of use, a parent newer than its children, cold leaves last
I5      states only at ends of whole pages; no empty edge but the root's
I6      evictable + protected = resident, per kind
I7      no page and no slot has two owners
I9      a child's first page is the key it hangs under
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from cachepawl.errors import InvariantError
from cachepawl.tree.hashes import HASH_BYTES
from cachepawl.tree.text import LINE_LIMIT, describe, render
from cachepawl.types import NO_PAGES

if TYPE_CHECKING:
    from cachepawl.tree.node import Node
    from cachepawl.tree.radix_tree import RadixTree


def check_counters(tree: RadixTree) -> None:
    """What O(1) can tell: counters in range and agreeing, list ends that may be evicted."""
    counts = {
        "full_evictable": tree.full_evictable,
        "full_protected": tree.full_protected,
        "state_evictable": tree.state_evictable,
        "state_protected": tree.state_protected,
        "window_evictable": tree.window_evictable,
        "window_protected": tree.window_protected,
        "num_nodes": tree.num_nodes,
    }
    for name, count in counts.items():
        if count < 0:
            _fail(tree, "I6", f"{name} is {count}")
    tokens = tree.full_evictable + tree.full_protected
    states = tree.state_evictable + tree.state_protected
    if tokens % tree.page_tokens or tree.full_evictable % tree.page_tokens:
        _fail(tree, "I5", f"{tokens} resident tokens are not whole pages of {tree.page_tokens}")
    if tokens < tree.num_nodes * tree.page_tokens or (tokens and not tree.num_nodes):
        _fail(tree, "I6", f"{tokens} resident tokens in {tree.num_nodes} nodes")
    if states and not tree.has_states:
        _fail(tree, "I5", f"{states} states in a tree without states")
    if states > tree.num_nodes:
        _fail(tree, "I6", f"{states} states in {tree.num_nodes} nodes")
    root = tree.root
    if (
        root.key or root.end or root.pages.count or root.window or root.full_lock
        or root.state is not None
    ):  # fmt: skip
        _fail(tree, "I5", "the root owns something", root)
    leaf = tree.kv_list.oldest()
    if (leaf is None) != (tree.full_evictable == 0):
        _fail(tree, "I4", f"{tree.full_evictable} evictable tokens, first to go: {leaf}")
    if leaf is not None and (leaf.children or leaf.full_lock or leaf.parent is None):
        _fail(tree, "I4", "the oldest KV is not an unlocked leaf", leaf)
    last = tree.state_list.oldest()
    if (last is None) != (tree.state_evictable == 0):
        _fail(tree, "I4", f"{tree.state_evictable} evictable states, first to go: {last}")
    if last is not None and (last.state is None or last.state_lock or last.parent is None):
        _fail(tree, "I4", "the oldest state is not an unlocked state", last)
    wide = tree.windows.oldest() if tree.windows is not None else None
    if (wide is None) != (tree.window_evictable == 0):
        _fail(tree, "I4", f"{tree.window_evictable} evictable window tokens, first: {wide}")
    if wide is not None and (wide.window is None or wide.window_lock or wide.parent is None):
        _fail(tree, "I4", "the oldest window is not an unlocked window", wide)


def check_everything(tree: RadixTree) -> None:
    """The full walk: every node, both lists, every owner."""
    nodes = _nodes(tree)
    for node in nodes:
        _check_shape(tree, node)
    _check_locks(tree, nodes)
    _check_sizes(tree, nodes)
    _check_kv_list(tree, nodes)
    _check_state_list(tree, nodes)
    _check_windows(tree, nodes)
    _check_owners(tree, nodes)


def _nodes(tree: RadixTree) -> list[Node]:
    """All nodes but the root; fails on one that is reached twice or that hangs wrongly."""
    seen = {id(tree.root)}
    nodes: list[Node] = []
    todo = [tree.root]
    while todo:
        parent = todo.pop()
        for hook, node in parent.children.items():
            if id(node) in seen:
                _fail(tree, "I9", "a node has two places", node)
            if node.parent is not parent:
                _fail(tree, "I9", f"a child of {describe(parent)} names another parent", node)
            if node.hook != hook:
                _fail(tree, "I9", f"a node hangs under {hook!r}, not under its own hook", node)
            seen.add(id(node))
            nodes.append(node)
            todo.append(node)
    return nodes


def _check_shape(tree: RadixTree, node: Node) -> None:
    parent = node.parent
    assert parent is not None  # _nodes has seen it
    page_bytes = tree.page_tokens * tree.token_bytes
    first = node.key[:page_bytes]
    if not node.key or len(node.key) % page_bytes:
        _fail(tree, "I5", f"an edge of {len(node.key)} bytes is not whole pages", node)
    if (node.hook[-page_bytes:] if parent is tree.root else node.hook) != first:
        _fail(tree, "I9", "the first page of an edge is not the key it hangs under", node)
    if node.end != parent.end + len(node.key) // tree.token_bytes:
        _fail(tree, "I5", f"the edge has {len(node.key) // tree.token_bytes} tokens", node)
    wanted = (node.end - parent.end) // tree.page_tokens
    if node.pages.count != (wanted if tree.has_full else 0):
        _fail(tree, "I5", f"{node.pages.count} pages on an edge that needs another number", node)
    if node.window is not None and (tree.windows is None or node.window.count != wanted):
        _fail(tree, "I5", f"{node.window.count} window pages on such an edge", node)
    if node.hashes is not None and len(node.hashes) != wanted * HASH_BYTES:
        _fail(tree, "I5", f"{len(node.hashes)} bytes of hashes for {wanted} pages", node)
    if node.owner is not tree.root:
        _fail(tree, "I9", "a node names another tree", node)
    if tree.ghosts.find(parent.serial, node.hook) is not None:
        _fail(tree, "I9", "a ghost lives where a node does", node)


def _check_locks(tree: RadixTree, nodes: list[Node]) -> None:
    full: Counter[int] = Counter()
    states: Counter[int] = Counter()
    windows: Counter[int] = Counter()
    for receipt in tree.open_locks:
        node = receipt.node
        if receipt.owner is not tree.root or node.owner is not tree.root:
            _fail(tree, "I2", f"{receipt!r} is open on what is not in the tree", node)
        states[id(node)] += receipt.keeps_state and node is not tree.root
        while (parent := node.parent) is not None:
            full[id(node)] += 1
            windows[id(node)] += tree.windows is not None and node.end > receipt.boundary
            node = parent
    for node in nodes:
        if node.state_lock < 0 or node.full_lock < node.state_lock:
            _fail(tree, "I3", "the state is locked more often than the KV", node)
        if node.full_lock < node.window_lock:
            _fail(tree, "I3", f"the window is locked {node.window_lock} times", node)
        if node.full_lock != full[id(node)]:
            _fail(tree, "I2", f"{full[id(node)]} open receipts lock this KV", node)
        if node.state_lock != states[id(node)]:
            _fail(tree, "I3", f"{states[id(node)]} open receipts lock this state", node)
        if node.window_lock != windows[id(node)]:
            _fail(tree, "I3", f"{node.window_lock} locks of a window, of {windows[id(node)]}", node)


def _check_sizes(tree: RadixTree, nodes: list[Node]) -> None:
    tokens = [0, 0]
    states = [0, 0]
    for node in nodes:
        tokens[node.full_lock > 0] += node.end - node.start
        if node.state is not None:
            states[node.state_lock > 0] += 1
    if tokens != [tree.full_evictable, tree.full_protected]:
        _fail(tree, "I6", f"evictable and protected tokens are {tokens}")
    if states != [tree.state_evictable, tree.state_protected]:
        _fail(tree, "I6", f"evictable and protected states are {states}")
    if len(nodes) != tree.num_nodes:
        _fail(tree, "I6", f"{len(nodes)} nodes")


def _check_kv_list(tree: RadixTree, nodes: list[Node]) -> None:
    place: dict[int, int] = {}
    for part in (tree.kv_list.warm, tree.kv_list.cold):
        newer = part
        node = part.kv_older
        while node is not part:
            if node.parent is None:
                _fail(tree, "I4", "an evicted node is on the KV list", node)
            if id(node) in place or len(place) > len(nodes):
                _fail(tree, "I4", "the KV list runs in a circle", node)
            if node.kv_newer is not newer:
                _fail(tree, "I4", "links of the KV list disagree", node)
            if part is tree.kv_list.cold:
                if node.kv_stamp:
                    _fail(tree, "I4", "a stamp in the cold part", node)
            elif not 0 < node.kv_stamp <= tree.clock:
                _fail(tree, "I4", f"a KV stamp outside of (0, {tree.clock}]", node)
            elif newer is not part and newer.kv_stamp < node.kv_stamp:
                _fail(tree, "I4", "the KV list is not in order of use", node)
            place[id(node)] = len(place)
            newer, node = node, node.kv_older
        if part.kv_newer is not newer:
            _fail(tree, "I4", "the tail of the KV list is not its last node")
    for node in nodes:
        if (id(node) in place) == (node.full_lock > 0):
            _fail(tree, "I4", "on the KV list and locked, or neither", node)
        if node.full_lock:
            continue
        useless = (tree.has_states and node.state is None) or (
            tree.windows is not None and node.window is None
        )
        if (useless and not node.children) == (node.kv_stamp > 0):
            _fail(tree, "I4", "not cold exactly when an unlocked leaf of no use", node)
        if node.parent is not None and place.get(id(node.parent), -1) > place[id(node)]:
            _fail(tree, "I4", "a parent is older than its child", node)
    if len(place) != sum(not node.full_lock for node in nodes):
        _fail(tree, "I4", "something that is not in the tree is on the KV list")


def _check_state_list(tree: RadixTree, nodes: list[Node]) -> None:
    listed: set[int] = set()
    newer = head = tree.state_list.head
    node = head.state_older
    while node is not head:
        if node.parent is None:
            _fail(tree, "I4", "an evicted node is on the state list", node)
        if id(node) in listed or len(listed) > len(nodes):
            _fail(tree, "I4", "the state list runs in a circle", node)
        if node.state_newer is not newer:
            _fail(tree, "I4", "links of the state list disagree", node)
        if not 0 < node.state_stamp <= tree.clock:
            _fail(tree, "I4", f"a state stamp outside of (0, {tree.clock}]", node)
        if newer is not head and newer.state_stamp < node.state_stamp:
            _fail(tree, "I4", "the state list is not in order of use", node)
        listed.add(id(node))
        newer, node = node, node.state_older
    if head.state_newer is not newer:
        _fail(tree, "I4", "the tail of the state list is not its last node")
    for node in nodes:
        if (id(node) in listed) != (node.state is not None and not node.state_lock):
            _fail(tree, "I4", "on the state list and locked or empty, or neither", node)
    if len(listed) != tree.state_evictable:
        _fail(tree, "I4", "something that is not in the tree is on the state list")


def _check_windows(tree: RadixTree, nodes: list[Node]) -> None:
    windows = tree.windows
    if windows is None:
        return
    tokens = [0, 0]
    for node in nodes:
        if node.window is not None:
            tokens[node.window_lock > 0] += node.window.count * tree.page_tokens
        if (node in windows) != (node.window is not None and not node.window_lock):
            _fail(tree, "I4", "on the window list and locked or empty, or neither", node)
    if tokens != [windows.evictable, windows.protected]:
        _fail(tree, "I6", f"evictable and protected window tokens are {tokens}")
    order = list(windows.newest_first())
    stamps = [windows.stamp_of(node) for node in order]
    if stamps != sorted(stamps, reverse=True) or not all(0 < s <= tree.clock for s in stamps):
        _fail(tree, "I4", "the window list is not in order of use")
    if len(order) != sum(node in windows for node in nodes):
        _fail(tree, "I4", "something that is not in the tree is on the window list")


def _check_owners(tree: RadixTree, nodes: list[Node]) -> None:
    owner: dict[int, Node] = {}
    for node in nodes:
        if node.state is None:
            continue
        other = owner.setdefault(node.state, node)
        if other is not node:
            _fail(tree, "I7", f"slot {node.state} is also owned by {describe(other)}", node)
    if owner.keys() != tree.owned_slots:
        _fail(tree, "I7", f"slots {sorted(tree.owned_slots)} are owned, not those in nodes")
    windows = [node.window or NO_PAGES for node in nodes]
    for what, kept in (("page", [node.pages for node in nodes]), ("window page", windows)):
        runs = sorted((first, count, i) for i, r in enumerate(kept) for first, count in r.runs)
        end = -1
        for first, count, i in runs:
            if first < end:
                _fail(tree, "I7", f"{what} {first} has another owner", nodes[i])
            end = first + count
    wrong = tree.owned_pages.wrong(node.pages for node in nodes)
    wrong = wrong or tree.owned_windows.wrong(windows)
    if wrong:
        _fail(tree, "I7", wrong)


def _fail(tree: RadixTree, rule: str, text: str, node: Node | None = None) -> NoReturn:
    where = "" if node is None else f"\n  at {describe(node)}"
    raise InvariantError(f"{rule}: {text}{where}\n{render(tree, LINE_LIMIT)}")
