"""What is being computed, and who may wait for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from passes import key

from cachepawl_launch.coming import MOST_WAITS, WORTH_WAITING, ComingStates

SHARED = list(range(300))
IDS = st.builds(
    lambda shared, own, length: SHARED[:shared] + [own] * length,
    st.integers(0, 300),
    st.sampled_from([1, 1 << 40]),
    st.integers(0, 100),
)
SPACES = st.sampled_from([b"", b"a"])
RIDS = st.sampled_from("abcd")


@given(
    st.lists(st.tuples(RIDS, IDS, SPACES, st.integers(0, 400)), max_size=8),
    st.sets(RIDS, max_size=2),
    IDS,
    SPACES,
    st.integers(0, 400),
)
def test_the_deepest_that_begins_alike(
    expected: list[tuple[str, list[int], bytes, int]],
    gone: set[str],
    ids: list[int],
    space: bytes,
    limit: int,
) -> None:
    coming = ComingStates()
    latest: dict[str, tuple[list[int], bytes]] = {}
    for rid, leader, where, depth in expected:
        coming.expect(rid, key(leader, where), depth)
        real = WORTH_WAITING <= depth <= len(leader)
        latest[rid] = (leader[:depth] if real else [], where)
    for rid in gone:
        coming.gone(rid)
        latest.pop(rid, None)
    depths = [
        len(prefix)
        for prefix, where in latest.values()
        if where == space and len(prefix) <= limit and ids[: len(prefix)] == prefix
    ]
    assert coming.deepest(key(ids, space), limit) == max(depths, default=0)


def test_nobody_waits_for_little_or_for_ever() -> None:
    coming, ids = ComingStates(), key(SHARED)
    coming.expect("leader", ids, 200)
    assert not coming.wait("x", ids, 200 - WORTH_WAITING + 1, 299)
    assert not coming.wait("x", ids, 0, 199)
    assert [coming.wait("x", ids, 0, 299) for _ in range(MOST_WAITS + 2)] == (
        [True] * MOST_WAITS + [False] * 2
    )
    assert coming.wait("y", ids, 200 - WORTH_WAITING, 299)


def test_whether_waiting_was_worth_it() -> None:
    coming, ids = ComingStates(), key(SHARED)
    coming.expect("leader", ids, 256)
    for rid in "xyz":
        assert coming.wait(rid, ids, 64, 299)
    coming.gone("leader")
    assert coming.end_waiting("x", 256)
    assert not coming.end_waiting("y", 64)
    assert not coming.end_waiting("never", 64)
    assert not coming.wait("z", ids, 64, 299)
    coming.clear()
    assert not coming.waits("z")
