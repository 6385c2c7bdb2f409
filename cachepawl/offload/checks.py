"""I8: both ends of a transfer under way are pinned, and nothing of it can be matched."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from cachepawl.offload.tickets import LOAD, WRITE, Ticket
from cachepawl.offload.write_backs import missing_nodes
from cachepawl.tree import Node

if TYPE_CHECKING:
    from cachepawl.cache import HybridPrefixCache
    from cachepawl.offload.tier import HostTier


def violations(tier: HostTier, level: int) -> list[str]:
    """One line a contradiction.  Level 1: the tickets.  Level 2: both trees as well."""
    wrong = _counts(tier)
    for ticket in tier.tickets:
        device, host = tier.device, tier.host
        source, target = (device, host) if ticket.direction is WRITE else (host, device)
        wrong += [f"I8 ticket {ticket.number}: {line}" for line in _ends(ticket, source, target)]
    if level >= 2:
        wrong += _still(tier) + _under_way(tier) + tier.copies.wrong()
    return wrong


def _counts(tier: HostTier) -> list[str]:
    tickets = tier.tickets
    rows = {ticket.target.row for ticket in tickets.under_way[WRITE]}
    mine = {t.target.row for t in tickets.under_way[LOAD] if t.rider is None}
    pairs: dict[str, tuple[object, object]] = {
        "rows of the host": (set(tier.host.refs.rows), rows),
        "private rows of the device": ({row for row in tier.device.refs.rows if row < 0}, mine),
        "slots of the host": (
            tier.host.row_states,
            sum(ticket.target.slot is not None for ticket in tickets.under_way[WRITE]),
        ),
    }
    for direction, queue in tickets.under_way.items():
        total = sum(ticket.nbytes for ticket in queue)
        pairs[f"bytes of {direction.name}"] = (tickets.nbytes[direction], total)
    return [f"I8 {name}: {a} != {b}" for name, (a, b) in pairs.items() if a != b]


def _ends(ticket: Ticket, source: HybridPrefixCache, target: HybridPrefixCache) -> list[str]:
    wrong = []
    node, receipt = ticket.source
    if receipt not in source.tree.open_locks or not receipt.keeps_state:
        wrong.append("its source is not locked")
    if ticket.target.receipt not in target.tree.open_locks:
        wrong.append("the path to its target is not locked")
    if node.end < ticket.depth:
        wrong.append(f"its source ends at {node.end}, before {ticket.depth}")
    if ticket.copy.states_from != ((node.state,) if ticket.copy.states_from else ()):
        wrong.append(f"its source has state {node.state} now, not {ticket.copy.states_from}")
    page = source.geometry.page_tokens
    start, stop = ticket.target.start // page, ticket.depth // page
    row = target.refs.rows.get(ticket.target.row)
    if row is None or row.shared != start or row.released:
        wrong.append("its target row is not what it was")
    elif target.refs.pages(ticket.target.row, start, stop) != ticket.copy.pages_to:
        wrong.append("its target pages have moved")
    if source.tree.path_pages(node).slice(start, stop) != ticket.copy.pages_from:
        wrong.append("its source pages have moved")
    if any(slot in target.tree.owned_slots for slot in ticket.copy.states_to):
        wrong.append("its target slot can be matched")
    return wrong


def _still(tier: HostTier) -> list[str]:
    """Frames of the device held still, counted again from the tickets."""
    frames = tier.device.frames
    found: Counter[int] = Counter()
    for ticket in tier.tickets:
        copy = ticket.copy
        runs = copy.pages_from if ticket.direction is WRITE else copy.pages_to
        for frame, count in runs.by_frame(frames.pages_per_frame):
            found[frame] += count
    held = frames.held_still()
    return [] if held == dict(found) else [f"I8 pages held still: {held} != {dict(found)}"]


def _under_way(tier: HostTier) -> list[str]:
    """Nodes that are being written, found again on the paths of the tickets."""
    found: defaultdict[Node, set[int]] = defaultdict(set)
    for ticket in tier.tickets.under_way[WRITE]:
        for node in missing_nodes(ticket.source.node, ticket.target.start):
            found[node].add(ticket.number)
    noted = tier.writes.under_way.as_sets()
    return [] if noted == dict(found) else [f"I8 being written: {noted} != {dict(found)}"]
