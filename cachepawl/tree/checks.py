"""The invariants of the tree.  Read-only; each failure names its rule and dumps the tree.

I2, I3  locks add up: `full_lock` is the receipts on the node plus those below it
I4      a node is on a list exactly when that kind is resident and unlocked; lists are in
        order of use, a parent newer than its children, cold leaves last
I5      states only at ends of whole pages; no empty edge but the root's
I6      evictable + protected = resident, per kind
I7      no page and no slot has two owners
I9      a child's first page is the key it hangs under
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cachepawl.errors import InvariantError
from cachepawl.tree.text import LINE_LIMIT, describe, render

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
    if root.key or root.end or root.pages.count or root.state is not None or root.full_lock:
        _fail(tree, "I5", "the root owns something", root)
    leaf = tree.kv_victim()
    if (leaf is None) != (tree.full_evictable == 0):
        _fail(tree, "I4", f"{tree.full_evictable} evictable tokens, first to go: {leaf}")
    if leaf is not None and (leaf.children or leaf.full_lock or leaf.parent is None):
        _fail(tree, "I4", "the oldest KV is not an unlocked leaf", leaf)
    last = tree.state_victim()
    if (last is None) != (tree.state_evictable == 0):
        _fail(tree, "I4", f"{tree.state_evictable} evictable states, first to go: {last}")
    if last is not None and (last.state is None or last.state_lock or last.parent is None):
        _fail(tree, "I4", "the oldest state is not an unlocked state", last)


def check_everything(tree: RadixTree) -> None:
    """The full walk: every node, both lists, every owner."""
    nodes = _nodes(tree)
    for node in nodes:
        _check_shape(tree, node)
    _check_locks(tree, nodes)
    _check_sizes(tree, nodes)
    _check_kv_list(tree, nodes)
    _check_state_list(tree, nodes)
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
    if node.pages.count * tree.page_tokens != node.end - parent.end:
        _fail(tree, "I5", f"{node.pages.count} pages on an edge that needs another number", node)


def _check_locks(tree: RadixTree, nodes: list[Node]) -> None:
    for node in nodes:
        if node.state_lock < 0 or node.full_lock < node.state_lock:
            _fail(tree, "I3", "the state is locked more often than the KV", node)
    for node in nodes:
        below = sum(child.full_lock for child in node.children.values())
        if node.full_lock < below:
            _fail(tree, "I2", f"locked less often than its children ({below})", node)
        here = node.state_lock + node.path_lock
        if node.full_lock != below + here:
            _fail(tree, "I2", f"{below} locks below and {here} here do not add up", node)


def _check_sizes(tree: RadixTree, nodes: list[Node]) -> None:
    tokens = [0, 0]
    states = [0, 0]
    for node in nodes:
        tokens[node.full_lock > 0] += node.pages.count * tree.page_tokens
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
        cold = tree.has_states and node.state is None and not node.children
        if cold == (node.kv_stamp > 0):
            _fail(tree, "I4", "not cold exactly when an unlocked leaf without a state", node)
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


def _check_owners(tree: RadixTree, nodes: list[Node]) -> None:
    owner: dict[int, Node] = {}
    for node in nodes:
        if node.state is None:
            continue
        other = owner.setdefault(node.state, node)
        if other is not node:
            _fail(tree, "I7", f"slot {node.state} is also owned by {describe(other)}", node)
    runs = sorted(
        ((first, count, i) for i, node in enumerate(nodes) for first, count in node.pages.runs)
    )
    end = -1
    for first, count, i in runs:
        if first < end:
            _fail(tree, "I7", f"page {first} has another owner", nodes[i])
        end = first + count


def _fail(tree: RadixTree, rule: str, text: str, node: Node | None = None) -> NoReturn:
    where = "" if node is None else f"\n  at {describe(node)}"
    raise InvariantError(f"{rule}: {text}{where}\n{render(tree, LINE_LIMIT)}")
