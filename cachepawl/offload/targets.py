"""Where a transfer writes: a row of the destination's cache that nobody can match, and a slot."""

from __future__ import annotations

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.offload.tickets import Target, Ticket
from cachepawl.offload.transfers import Copy
from cachepawl.tree import Node, RadixTree


def open_target(
    cache: HybridPrefixCache, row: int, node: Node, start: int, stop: int
) -> Target | None:
    """Room for the KV of `[start, stop)` behind the path to a node, and for a state.

    None, and no change but evictions, if there is none.
    """
    wanted = int(cache.tree.has_states)
    receipt = cache.lock_path(node)
    slots: tuple[int, ...] = ()
    opened = False
    if not cache.fits(stop - start, wanted):
        cache.unlock_unused(receipt)
        return None
    try:
        slots = cache.take_states(wanted)
        cache.open_row(row, node, start)
        opened = True
        cache.allocate(row, stop)
    except OutOfPages:
        cache.free_states(slots)
        if opened:
            cache.close_row(row)
        cache.unlock_unused(receipt)
        return None
    return Target(row, start, receipt, slots[0] if slots else None)


def copy_into(
    cache: HybridPrefixCache, target: Target, source: RadixTree, node: Node, stop: int
) -> Copy:
    """The KV of `[target.start, stop)` of the path to a source's node, and its state."""
    page = cache.geometry.page_tokens
    first, last = target.start // page, stop // page
    return Copy(
        source.path_pages(node).slice(first, last),
        cache.refs.pages(target.row, first, last),
        (node.state,) if node.state is not None else (),
        (target.slot,) if target.slot is not None else (),
    )


def close_target(cache: HybridPrefixCache, ticket: Ticket, error: str | None) -> Node | None:
    """Publish what has arrived and return its node; with an error, give all back."""
    row, start, receipt, slot = ticket.target
    node, taken = None, False
    if error is None:
        node, _, taken = cache.publish(row, ticket.key, ticket.depth, slot)
        cache.policy.copied(cache.tree, node, ticket.source.node)
    else:
        cache.release(row, start, ticket.depth)
    if slot is not None and not taken:
        cache.free_states((slot,))
    cache.unlock_unused(receipt)
    cache.close_row(row)
    return node
