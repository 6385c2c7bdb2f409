"""Where the tree's states lie: in slots of their own, or compressed, several a frame.  No torch.

A running request always computes in whole slots.  What differs is what it leaves behind:

    SlotStore         a slot changes hands: the tree owns it now
    CheckpointStore   a compressed copy goes to a checkpoint; the slot stays the request's

For the cache's arithmetic both come to the same: frames that hold states, and how many of
them would be empty if everything evictable were gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from cachepawl.pool.checkpoints import CheckpointMove, CheckpointSlots
from cachepawl.pool.frames import FrameAllocator
from cachepawl.tree import Node, RadixTree

Pairs = dict[str, tuple[int, int]]
"""What must be equal, by name."""


class StateStore(Protocol):
    """One of the two."""

    def evictable_frames(self) -> int:
        """Frames of states that eviction alone would empty."""

    def frames_held(self) -> int:
        """Frames that hold states of the tree."""

    def frame_of(self, state: int) -> int:
        """The frame that a state of the tree lies in."""

    def took(self, state: int, node: Node) -> int:
        """The tree took a state to a node; returns the slots that its request gave away."""

    def free(self, states: tuple[int, ...]) -> None:
        """The tree let states go."""

    def pack(self) -> bool:
        """Whether a frame could be emptied by moving things together, which is done then."""

    def clear(self) -> None:
        """The tree and the frames were cleared."""

    def stats(self) -> dict[str, int]:
        """Sizes and totals beyond those that every cache has."""

    def pairs(self, row_states: int) -> Pairs:
        """Counters that must agree, given the slots of requests; O(1)."""

    def violations(self) -> list[str]:
        """What level 2 finds wrong.  Read only; walks everything."""


class SlotStore:
    """Uncompressed: a state of the tree is a slot, a frame of its own."""

    def __init__(self, frames: FrameAllocator, tree: RadixTree) -> None:
        self._frames = frames
        self._tree = tree
        self.free = frames.free_states

    def evictable_frames(self) -> int:
        return self._tree.state_evictable

    def frames_held(self) -> int:
        return self._tree.state_evictable + self._tree.state_protected

    def frame_of(self, state: int) -> int:
        return state

    def took(self, state: int, node: Node) -> int:
        return 1

    def pack(self) -> bool:
        return False

    def clear(self) -> None:
        """Nothing is kept here."""

    def stats(self) -> dict[str, int]:
        return {}

    def pairs(self, row_states: int) -> Pairs:
        tree = self._tree
        return {
            "I6 states: evictable + protected + requests'": (
                tree.state_evictable + tree.state_protected + row_states,
                self._frames.states,
            )
        }

    def violations(self) -> list[str]:
        return []


CarryCheckpoints = Callable[[Sequence[CheckpointMove]], None]
"""Copies compressed states, after all that was asked for before and before all that follows."""


def nothing_to_move(moves: Sequence[CheckpointMove]) -> None:
    """For a cache without bytes."""


class CheckpointStore:
    """Compressed: a state of the tree is a checkpoint, one of several in a frame."""

    def __init__(self, frames: FrameAllocator, tree: RadixTree, per_frame: int) -> None:
        self.slots = CheckpointSlots(frames, per_frame)
        self.carry: CarryCheckpoints = nothing_to_move
        self._frames = frames
        self._tree = tree
        self._owner: dict[int, Node] = {}
        self._loose: set[int] = set()
        """Taken for a state that is not published yet."""

    def take(self) -> int | None:
        """A checkpoint for the caller; None, and no change, when there is no place."""
        one = self.slots.alloc()
        if one is not None:
            self._loose.add(one)
        return one

    def drop(self, checkpoint: int) -> None:
        """The caller gives back what it took and the tree did not take."""
        self.slots.free((checkpoint,))
        self._loose.discard(checkpoint)

    def frames_held(self) -> int:
        return self.slots.num_frames

    def frame_of(self, state: int) -> int:
        return self.slots.frame_of(state)

    def took(self, state: int, node: Node) -> int:
        self._loose.discard(state)
        self._owner[state] = node
        return 0

    def free(self, states: tuple[int, ...]) -> None:
        self.slots.free(states)
        for state in states:
            del self._owner[state]

    def evictable_frames(self) -> int:
        """All but as many as the locked ones fill once they are packed.

        Those not published yet may each keep a frame: their ids are out of our hands.
        """
        packed = -(-self._tree.state_protected // self.slots.per_frame)
        return max(0, self.slots.num_frames - packed - len(self._loose))

    def pack(self) -> bool:
        """The bytes are moved by `carry`.  Locked checkpoints move too: only nodes name them."""
        if self.slots.open < self.slots.per_frame:
            return False
        moves = self.slots.start_pack({self.slots.frame_of(one) for one in self._loose})
        if not moves:
            return False
        for source, target in moves:
            node = self._owner[target] = self._owner.pop(source)
            self._tree.move_state(node, target)
        self.carry(moves)
        self.slots.finish_pack(moves)
        return True

    def clear(self) -> None:
        self.slots.clear()
        self._owner.clear()
        self._loose.clear()

    def stats(self) -> dict[str, int]:
        slots = self.slots
        return {
            "frames_checkpoint": slots.num_frames,
            "checkpoints": slots.count,
            "checkpoints_open": slots.open,
            "peak_checkpoints": slots.peak,
            "checkpoints_moved": slots.moved,
        }

    def pairs(self, row_states: int) -> Pairs:
        tree, slots = self._tree, self.slots
        return {
            "I6 states: frames of checkpoints + requests' slots": (
                slots.num_frames + row_states,
                self._frames.states,
            ),
            "I6 checkpoints: evictable + protected + not published": (
                tree.state_evictable + tree.state_protected + len(self._loose),
                slots.count,
            ),
        }

    def violations(self) -> list[str]:
        found = {node.state: node for node in self._tree.walk() if node.state is not None}
        wrong = self.slots.violations()
        if found != self._owner:
            wrong.append(f"I7 checkpoints {sorted(self._owner)} have owners, {sorted(found)} are "
                         f"in nodes, or in other ones")  # fmt: skip
        both = {*found, *self._loose}
        if len(both) != self.slots.count or len(both) != len(found) + len(self._loose):
            wrong.append(f"I7 {len(found)} checkpoints in nodes and {len(self._loose)} not "
                         f"published, {self.slots.count} in use")  # fmt: skip
        return wrong


def make_store(
    frames: FrameAllocator, tree: RadixTree, per_frame: int
) -> tuple[StateStore, CheckpointStore | None]:
    """The store of an arena with `per_frame` checkpoints a frame; 0: states as they are."""
    if not per_frame:
        return SlotStore(frames, tree), None
    compressed = CheckpointStore(frames, tree, per_frame)
    return compressed, compressed
