"""What is said of an entry or a cell, where it is pointed at or listed."""

from __future__ import annotations

from cachepawl.observe.cells import KINDS
from cachepawl.offline.map.kinds import LOOKS, counted, share_text
from cachepawl.offline.map.picture import Entry, Picture


def entry_words(entry: Entry) -> list[str]:
    """All about an entry, in pieces."""
    if entry.is_summary:
        words = [
            f"{entry.nodes:,} nodes from {entry.start:,}, at most to {entry.end:,}",
            counted(entry.tokens, "token"),
            counted(entry.states, "state"),
        ]
        if entry.locked_tokens:
            words.append(f"locked: {counted(entry.locked_tokens, 'token')}, "
                         f"{counted(entry.locked_states, 'state')}")  # fmt: skip
    else:
        words = [f"[{entry.start:,}, {entry.end:,})", counted(entry.tokens, "token")]
        if entry.states:
            words.append("state, locked" if entry.locked_states else "state")
    if entry.kv_locks:
        words.append(counted(entry.kv_locks, "lock"))
    if entry.kv_rank is not None:
        words.append(f"KV {_turn(entry.kv_rank)}")
    if entry.state_rank is not None:
        words.append(f"state {_turn(entry.state_rank)}")
    if entry.namespace:
        words.append(f"namespace {entry.namespace}")
    return words


def _turn(rank: int) -> str:
    return "goes next" if rank == 0 else f"goes after {rank:,}"


def cell_words(picture: Picture, index: int) -> str:
    """What the frames of a cell hold."""
    each, cell = picture.cells.frames_each, picture.cells.bytes[index]
    first = index * each
    last = min(first + each, picture.geometry.frames) - 1
    name = f"frame {first:,}" if first == last else f"frames {first:,} to {last:,}"
    parts = [
        f"{share_text(size, sum(cell))} {LOOKS[kind].label}"
        for kind, size in zip(KINDS, cell, strict=True)
        if size
    ]
    return f"{name}: {', '.join(parts)}"


def sentence(picture: Picture) -> str:
    """The whole in one or two sentences."""
    g, tree = picture.geometry, picture.tree
    used = picture.total_bytes - picture.bytes["free"] - picture.bytes["sink"]
    return (
        f"{counted(g.frames - 1, 'frame')}, {share_text(used, picture.total_bytes)} of the arena "
        f"in use; {counted(picture.requests, 'running request')}. The tree: "
        f"{counted(tree.nodes, 'node')}, {counted(tree.total('tokens'), 'token')}, "
        f"{counted(tree.total('states'), 'state')}."
    )
