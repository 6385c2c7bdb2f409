"""The policy that knows the trace, in the real cache: below the bound, above the past's."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachepawl.cache import HybridPrefixCache
from cachepawl.errors import OutOfPages
from cachepawl.offline.bounds.clairvoyant import Clairvoyant
from cachepawl.offline.bounds.runs import Runs, runs_of
from cachepawl.offline.bounds.upper import Bytes, upper_bound
from cachepawl.offline.traces import TraceRequest
from cachepawl.policy.lru import Lru
from cachepawl.pool.geometry import Geometry, KvShape, StateShape
from cachepawl.tree import Lock, RadixTree
from cachepawl.types import Key
from cachepawl.types import Runs as Pages

PAGE = 2
KV = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
STATE = StateShape(1, (), 2, (4 * PAGE * KV.entry_bytes // 4,), 4)
"""As large as four pages."""


def asked(prompts: list[list[int]]) -> list[TraceRequest]:
    return [TraceRequest(0.0, Key(array("q", p).tobytes()), 1, "") for p in prompts]


def geometry_of(frames: int, states: bool) -> Geometry:
    return Geometry(KV, STATE if states else None, PAGE, frames, frame_pages=4)


class Server:
    """One request after the other: states at the branch point and at the prompt's end."""

    def __init__(self, cache: HybridPrefixCache, answer: int = 0, checks: int = 1) -> None:
        """`answer`: tokens, of no prompt, that a request leaves in the tree when it ends."""
        self.cache = cache
        self.rows = 0
        self.answer = answer
        self.checks = checks

    def serve(self, key: Key) -> int:
        """Tokens that the request started from; 0 too where it does not fit."""
        cache = self.cache
        tokens = len(key.tokens) // 8
        found = cache.match(key, tokens - 1)
        self.rows += 1
        lock = cache.lock(found.node)
        cache.open_row(self.rows, found.node, found.usable_len)
        done = found.usable_len
        try:
            for stop in sorted({found.kv_len, tokens // PAGE * PAGE}):
                if stop > done:
                    cache.allocate(self.rows, stop)
                    lock = self._publish(key, stop, lock)
                    done = stop
            if self.answer:
                tail = array("q", [-self.rows]) * self.answer
                key = Key(key.tokens[: done * 8] + tail.tobytes(), key.namespace)
                cache.allocate(self.rows, done + self.answer)
                done += self.answer
                lock = self._publish(key, done, lock)
        except OutOfPages:
            done = lock.node.end
        held = cache.refs.live(self.rows).count * PAGE
        cache.release(self.rows, done, held)
        cache.unlock(lock)
        cache.close_row(self.rows)
        cache.check(self.checks)
        return found.usable_len

    def _publish(self, key: Key, depth: int, lock: Lock) -> Lock:
        cache = self.cache
        slots = cache.try_states(1) if cache.tree.has_states else None
        done = cache.publish(self.rows, key, depth, slots[0] if slots else None)
        if slots and not done.state_taken:
            cache.free_states(slots)
        held = cache.lock_path(done.node)
        cache.unlock(lock)
        return held


def played(
    prompts: list[list[int]], frames: int, states: bool, *, knowing: bool, **options: int
) -> list[int]:
    """Tokens hit by each request."""
    geometry = geometry_of(frames, states)
    cost = Bytes(geometry.entry_bytes, geometry.state_bytes)
    requests = asked(prompts)
    if not knowing:
        server = Server(HybridPrefixCache(geometry, states_per_request=1, policy=Lru()), **options)
        return [server.serve(request.key) for request in requests]
    policy = Clairvoyant(runs_of(requests, 1, PAGE), cost)
    cache = HybridPrefixCache(geometry, states_per_request=1, policy=policy)
    server = Server(cache, **options)
    return [server.serve(request.key) for request in policy.watch(requests, cache.tree)]


def bound(prompts: list[list[int]], frames: int, states: bool) -> int:
    geometry = geometry_of(frames, states)
    cost = Bytes(geometry.entry_bytes, geometry.state_bytes)
    return upper_bound(runs_of(asked(prompts), 1, PAGE), cost, geometry.total_bytes)


PROMPTS = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=6).map(
        lambda words: [t for word in words for t in (word, 9, word)]
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60)
@given(
    prompts=PROMPTS,
    frames=st.integers(2, 12),
    states=st.booleans(),
    answer=st.sampled_from([0, PAGE, 3 * PAGE]),
)
def test_what_can_be_saved_is_below_the_bound(
    prompts, frames: int, states: bool, answer: int
) -> None:
    saved = played(prompts, frames, states, knowing=True, checks=2, answer=answer)
    assert 0 <= sum(saved) <= bound(prompts, frames, states)
    again = played(prompts, frames, states, knowing=True, answer=answer)
    assert saved == again, "the same every time"


def rounds(count: int) -> list[list[int]]:
    """Prompts in turns, more than fit: the past says nothing."""
    return [[i] * 9 for i in range(count)] * 30


def sessions(seed: int) -> list[list[int]]:
    """Conversations that grow behind one of two long openings."""
    draw = random.Random(seed)
    talks = [[draw.randrange(2)] * 12 + [100 + i] for i in range(40)]
    out = []
    for _ in range(250):
        talk = talks[min(draw.randrange(40), draw.randrange(40))]
        if len(talk) > 40:
            del talk[13:]
        talk += [draw.randrange(50) for _ in range(draw.randrange(1, 6))]
        out.append(list(talk))
    return out


@pytest.mark.parametrize("answer", [0, 4 * PAGE])
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize(
    ("make", "frames"),
    [(lambda: rounds(9), 9), (lambda: sessions(1), 24), (lambda: sessions(2), 48)],
)
def test_knowing_is_better(
    make: Callable[[], list[list[int]]], frames: int, states: bool, answer: int
) -> None:
    prompts = make()
    known = sum(played(prompts, frames, states, knowing=True, answer=answer))
    past = sum(played(prompts, frames, states, knowing=False, answer=answer))
    assert past < known <= bound(prompts, frames, states)


def test_it_keeps_what_comes_back_first() -> None:
    """Room for two prompts' units; the third's arrival costs the one that is needed later."""
    a, b, c = ([i] * 9 for i in (1, 2, 3))
    prompts = [a, b, c, a, b]
    hits = played(prompts, 6, True, knowing=True)
    assert hits[3] == 8, "a comes back before b, so b was the one to go"
    assert played(prompts, 6, True, knowing=False)[3] == 0


@pytest.mark.parametrize("answer", [0, PAGE])
def test_followed_nodes_are_forgotten(answer: int) -> None:
    """Memory is that of the cache and the trace's runs, not of all that ever was cached."""
    prompts = [[i, *range(8)] for i in range(300)]
    requests = asked(prompts)
    runs = runs_of(requests, 1, PAGE)
    policy = Clairvoyant(runs, Bytes(KV.entry_bytes, STATE.state_bytes))
    cache = HybridPrefixCache(geometry_of(9, True), states_per_request=1, policy=policy)
    server = Server(cache, answer)
    for request in policy.watch(requests, cache.tree):
        server.serve(request.key)
        assert policy.followed <= cache.tree.num_nodes + 8


def test_what_it_does_not_know_goes_by_age() -> None:
    """Nodes of a request that still runs are not followed yet: the cache must not stall."""
    tree = RadixTree(PAGE, has_states=True)
    policy = Clairvoyant(Runs(PAGE, [], [], [], []), Bytes(1, 1))
    assert policy.victim(tree) is None
    done = tree.insert(asked([[1, 2]])[0].key, Pages([(1, 1)]), owned_from=0, state=1)
    victim = policy.victim(tree)
    assert victim is not None
    assert victim.node is done.node
