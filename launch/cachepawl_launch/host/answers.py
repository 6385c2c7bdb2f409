"""What waiting requests were told, so that a step in which nothing changed looks nothing up.

An answer stands until something happens that can change it:

the host has something   its node there, or the device's, has left or lost its state
it has nothing           the same of the device's node, or a write-back has arrived
the device had no room   what is free or can be evicted there is not what it was

That others publish more on the device is not asked: a request is looked up again before its load
begins, so all that hangs on it is who may be admitted in front of whom for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.offload.matching import TierMatch
from cachepawl.offload.tier import HostTier
from cachepawl.tree import Node, RadixTree

Room = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """To one request."""

    device: Node
    has_state: bool
    """Whether that is what the device's node was matched for."""
    host: Node | None
    """None: the host has nothing to add."""
    writes: int
    """That had arrived."""
    room: Room | None = None
    """Of a device that had none for the load."""


class Answers:
    """By request.  Every verb O(1)."""

    def __init__(self, tier: HostTier) -> None:
        self._tier = tier
        self._told: dict[str, Answer] = {}

    def of(self, rid: str) -> Answer | None:
        """What still stands, None where it has to be looked up."""
        told, tier = self._told.get(rid), self._tier
        if told is None or not _is_there(told.device, told.has_state, tier.device.tree):
            return None
        if told.host is None:
            return told if told.writes == tier.counters.writes else None
        host = tier.host.tree
        return told if _is_there(told.host, host.has_states, host) else None

    def refused(self, rid: str) -> bool:
        """Whether the device still has no room for what the request waits for."""
        told = self.of(rid)
        return told is not None and told.room == self._room()

    def note(self, rid: str, found: TierMatch, *, refused: bool = False) -> None:
        """It was looked up just now; `refused`: and the device had no room."""
        node, room = found.device.node, self._room() if refused else None
        writes = self._tier.counters.writes
        self._told[rid] = Answer(node, node.state is not None, found.host_node, writes, room)

    def _room(self) -> Room:
        device = self._tier.device
        tree = device.tree
        return device.frames.free_frames, tree.full_evictable, tree.state_evictable

    def drop(self, rid: str) -> None:
        """Nothing is known of it any more.  Safe for any name."""
        self._told.pop(rid, None)

    def clear(self) -> None:
        """Of nobody."""
        self._told.clear()


def _is_there(node: Node, with_state: bool, tree: RadixTree) -> bool:
    return node.owner is tree.root and (node.state is not None or not with_state)
