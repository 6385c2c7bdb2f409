"""A cache of compressed states under the server in miniature: a few checkpoints a frame.

The machine's memory also knows what every checkpoint was compressed from, and loses it with
its frame, so a checkpoint that is read after it moved, or was overwritten, shows at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import ArgumentError
from cachepawl.pool.checkpoints import CheckpointMove
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.stores import CheckpointStore
from cachepawl.tree import Node
from cachepawl.types import Key

SHAPES = [(4, 1, 16), (4, 2, 64), (4, 1, 32), (1, 2, 16), (4, 4, 112), (1, 4, 32)]
"""Tokens a page, pages a frame, elements of a state: 4, 3, 2, 2, 4 and 2 checkpoints a frame."""


def compressed(page: int, frames: int, full: int, elements: int) -> Geometry:
    kv = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
    shape = StateShape(1, (), 2, (elements,), 4)
    geometry = Geometry(kv, shape, page, frames).with_checkpoints("int8")
    assert geometry.pages_per_frame == full
    return geometry


@pytest.fixture
def machine(server_machine: type) -> type:
    """The server in miniature on a cache of compressed states."""
    tasks = st.lists(server_machine.task_strategy, min_size=5, max_size=15)

    class CheckpointMachine(server_machine):  # type: ignore[misc]
        @initialize(
            shape=st.sampled_from(SHAPES),
            frames=st.sampled_from([8, 7, 9, 12, 6, 5]),
            states=st.sampled_from([1, 2]),
            caps=st.sampled_from([(None, None)] * 3 + [(13, None), (None, 4), (12, 5)]),
            policy=st.sampled_from(["lru", "joint"]),
            tasks=tasks,
        )
        def start_server(
            self, shape: Any, frames: int, states: int, caps: Any, policy: str, tasks: Any
        ) -> None:
            page, full, self.elements = shape
            self.policy = policy
            self.checkpoints: dict[int, Any] = {}
            # The base class builds the cache, asks for its geometry and serves the tasks.
            start = server_machine.start_server.__wrapped__
            start(self, page, frames, full, states, caps, tasks)

        def geometry(self, page: int, frames: int, full: int) -> Geometry:
            return compressed(page, frames, full, self.elements)

        def wire(self) -> None:
            store = self.cache.checkpoints
            assert store is not None
            store.carry = self.carry_checkpoints

        def carry_checkpoints(self, moves: Sequence[CheckpointMove]) -> None:
            fresh = {target: self.checkpoints.get(source) for source, target in moves}
            assert len(fresh) == len(moves)
            self.checkpoints |= fresh

        def forget_frame(self, frame: int, per_frame: int) -> None:
            super().forget_frame(frame, per_frame)
            places = self.cache.geometry.checkpoints_per_frame
            for one in range(frame * places, (frame + 1) * places):
                self.checkpoints.pop(one, None)
            self.memory.states.pop(frame, None)

        def kept(self, state: int | None) -> Any:
            assert state in self.checkpoints, f"checkpoint {state} holds nothing"
            return self.checkpoints[state]

        def evictable_frames(self) -> int:
            places = self.cache.geometry.checkpoints_per_frame
            nodes = [n for n in self.cache.tree.walk() if n.state is not None]
            locked = sum(n.state_lock > 0 for n in nodes)
            return len({n.state // places for n in nodes}) - -(-locked // places)

        def offered(self, request: Any, depth: int) -> int | None:
            tree, frames = self.cache.tree, self.cache.frames
            could = (
                tree.state_evictable > 0
                or self.cache.fits(0, 1)
                or self.cache.stats()["checkpoints_open"] > 0
            )
            before = self.picture()
            got = self.cache.try_checkpoint()
            assert (got is not None) == could
            if got is None:
                assert self.picture() == before
                return None
            assert frames.frame_of(0) == 0 < got // self.cache.geometry.checkpoints_per_frame
            assert got not in {n.state for n in tree.walk()}
            self.checkpoints[got] = request.prefix(depth)
            return got

        def taken_back(self, state: int) -> None:
            self.cache.drop_checkpoint(state)

        def parting(self, slots: list[int], slot: int) -> int | None:
            prefix = self.memory.states[slot]
            for other in [other for other in slots if other != slot]:
                slots.remove(other)
                self.cache.free_states([other])
            got = self.cache.try_checkpoint()
            assert got is not None or self.states == 1
            if got is not None:
                self.checkpoints[got] = prefix
            return got

        def parted(self, slots: list[int], slot: int, state: int, taken: bool) -> None:
            if not taken:
                self.cache.drop_checkpoint(state)

    return CheckpointMachine


def test_serves_from_the_right_checkpoints(machine: type, must_pass: Callable[..., None]) -> None:
    must_pass(machine, runs=60, steps=30)


@pytest.mark.stress
def test_serves_for_long(machine: type, must_pass: Callable[..., None]) -> None:
    """Fresh seeds; SERVER_EXAMPLES sets how many runs."""
    runs = int(os.environ.get("SERVER_EXAMPLES", "2000"))
    must_pass(machine, runs=runs, steps=80, fresh=True)


# Mistakes that the machine must notice


class MovesNoBytes(CheckpointStore):
    def pack(self) -> bool:
        carry, self.carry = self.carry, lambda moves: None
        try:
            return super().pack()
        finally:
            self.carry = carry


class CopiesAfterTheFrameIsGone(CheckpointStore):
    def pack(self) -> bool:
        late: list[CheckpointMove] = []
        carry, self.carry = self.carry, late.extend
        try:
            done = super().pack()
        finally:
            self.carry = carry
        if late:
            self.carry(late)
        return done


class NodeKeepsItsOldPlace(CheckpointStore):
    def pack(self) -> bool:
        tree, self._tree = self._tree, _Unmoved(self._tree)  # type: ignore[assignment]
        try:
            return super().pack()
        finally:
            self._tree = tree


class _Unmoved:
    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tree, name)

    def move_state(self, node: Node, slot: int) -> None:
        pass


class EveryFrameIsEvictable(CheckpointStore):
    def evictable_frames(self) -> int:
        return self.slots.num_frames


class CountsCheckpointsForFrames(CheckpointStore):
    def evictable_frames(self) -> int:
        return self._tree.state_evictable


class NoneIsEvictable(CheckpointStore):
    def evictable_frames(self) -> int:
        return 0


class FreedOnesKeepTheirPlace(CheckpointStore):
    def free(self, states: tuple[int, ...]) -> None:
        for state in states:
            del self._owner[state]


class DroppedOnesStayLoose(CheckpointStore):
    def drop(self, checkpoint: int) -> None:
        self.slots.free((checkpoint,))


MUTANTS = [
    # Packing is rare here, so these take many runs.
    *(
        pytest.param(mutant, marks=pytest.mark.stress)
        for mutant in (MovesNoBytes, CopiesAfterTheFrameIsGone, NodeKeepsItsOldPlace)
    ),
    EveryFrameIsEvictable,
    CountsCheckpointsForFrames,
    NoneIsEvictable,
    FreedOnesKeepTheirPlace,
    DroppedOnesStayLoose,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_is_caught(
    machine: type, mutant: type[CheckpointStore], must_fail: Callable[..., None]
) -> None:
    class BrokenCache(HybridPrefixCache):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            places = self.geometry.checkpoints_per_frame
            self.store = self.checkpoints = mutant(self.frames, self.tree, places)

    must_fail(type("Broken", (machine,), {"cache_type": BrokenCache}))


def test_there_are_none_in_a_cache_of_whole_states(make_geometry: Callable[..., Geometry]) -> None:
    cache = HybridPrefixCache(make_geometry(4, 6, 2), states_per_request=1)
    with pytest.raises(ArgumentError, match="no checkpoints"):
        cache.try_checkpoint()
    with pytest.raises(ArgumentError, match="no checkpoints"):
        cache.drop_checkpoint(4)


def test_more_states_stay_in_the_same_bytes() -> None:
    """Seven frames, one for a request: prompts of a page each, cached with their states."""
    found = {}
    for dtype in ("auto", "int8"):
        geometry = compressed(4, 8, 2, 64).with_checkpoints(dtype)
        cache = HybridPrefixCache(geometry, states_per_request=1)
        for i in range(30):
            key = Key(bytes([i]) * 32)
            lock = cache.lock(cache.tree.root)
            slot = cache.take_states(1)
            cache.open_row(i, cache.tree.root, 0)
            cache.allocate(i, 4)
            state = slot[0] if dtype == "auto" else cache.try_checkpoint()
            done = cache.publish(i, key, 4, state)
            assert done.state_taken
            cache.unlock(lock)
            cache.close_row(i)
            if dtype != "auto":
                cache.free_states(slot)
            cache.check(2)
        found[dtype] = cache.tree.state_evictable
    # Two pages a frame, one state or three checkpoints: 4 + 2 frames, or 3 + 4 with one open place.
    assert found["auto"] == 4
    assert found["int8"] >= 6


def test_locked_checkpoints_are_packed_when_a_frame_is_wanted() -> None:
    """Two in two frames: all frames but one of theirs can be had, and no hit is lost."""
    cache = HybridPrefixCache(compressed(4, 7, 1, 32), states_per_request=1)
    store, places = cache.checkpoints, cache.geometry.checkpoints_per_frame
    assert store is not None
    moved: list[CheckpointMove] = []
    store.carry = moved.extend
    nodes = []
    for i in range(2 * places):
        cache.open_row(i, cache.tree.root, 0)
        cache.allocate(i, 4)
        nodes.append(cache.publish(i, Key(bytes([i]) * 32), 4, cache.try_checkpoint()).node)
        cache.close_row(i)
    kept = [nodes[0], nodes[-1]]
    locks = [cache.lock(node) for node in kept]
    before = [node.state for node in kept]
    assert len({store.frame_of(state) for state in before if state is not None}) == 2
    frames = cache.geometry.usable_frames - cache.frames.pinned_frames
    assert cache.fits(0, frames - 1)
    assert not cache.fits(0, frames)
    assert not cache.make_room_for_states(frames)
    assert moved == []
    assert cache.make_room_for_states(frames - 1)
    cache.check(2)
    assert len({store.frame_of(node.state) for node in kept if node.state is not None}) == 1
    assert [move.source for move in moved if move.source in before] != []
    assert store.slots.moved == len(moved)
    slots = cache.take_states(frames - 1)
    found = [cache.match(Key(bytes([i]) * 32)).usable_len for i in range(2 * places)]
    assert found == [4] + [0] * (2 * places - 2) + [4]
    cache.free_states(slots)
    for lock in locks:
        cache.unlock(lock)
    assert cache.fits(0, cache.geometry.usable_frames)
