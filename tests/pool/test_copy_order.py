"""Copies made in waves against the same copies made one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachepawl.pool.copy_order import CopyQueue, Kind

FRAMES, N = 4, 3
COPIES = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 10**4), st.integers(0, 10**4)), max_size=14
)


def cells(kind: Kind, source: int, target: int) -> tuple[list[int], list[int]]:
    """The memory cells, N a frame, that a copy reads and writes."""
    whole = lambda frame: list(range(frame * N, frame * N + N))  # noqa: E731
    read = whole(source) if kind is Kind.COMPRESS else [source]
    return read, whole(target) if kind is Kind.EXPAND else [target]


def copied(memory: list[object], kind: Kind, source: int, target: int) -> dict[int, object]:
    """What a copy writes: every cell written names all cells read."""
    read, written = cells(kind, source, target)
    seen = tuple(memory[at] for at in read)
    return {at: (kind, at - written[0], seen) for at in written}


@given(COPIES)
def test_waves_do_what_the_order_does(copies: list[tuple[Kind, int, int]]) -> None:
    queue = CopyQueue(N)
    asked = []
    for kind, a, b in copies:
        source = a % FRAMES if kind is Kind.COMPRESS else a % (FRAMES * N)
        target = b % FRAMES if kind is Kind.EXPAND else b % (FRAMES * N)
        read, written = cells(kind, source, target)
        if not set(read).intersection(written):  # no copy overlaps itself
            asked.append((kind, source, target))
            queue.add(kind, source, target)
    assert len(queue) == len(asked)

    one_by_one: list[object] = list(range(FRAMES * N))
    for copy in asked:
        for at, value in copied(one_by_one, *copy).items():
            one_by_one[at] = value

    in_waves: list[object] = list(range(FRAMES * N))
    made = []
    for batch in queue.take():
        every = list(zip(batch.sources, batch.targets, strict=True))
        touched = [cells(batch.kind, *pair) for pair in every]
        written = [at for _, w in touched for at in w]
        assert len(written) == len(set(written))
        assert not set(written).intersection(at for r, _ in touched for at in r)
        before = list(in_waves)
        for pair in every:
            for at, value in copied(before, batch.kind, *pair).items():
                in_waves[at] = value
        made += [(batch.kind, *pair) for pair in every]
    assert in_waves == one_by_one
    assert sorted(made) == sorted(asked)
    assert queue.take() == []
    assert len(queue) == 0


def test_what_is_apart_shares_a_launch() -> None:
    queue = CopyQueue(2)
    for i in range(50):
        queue.add(Kind.COMPRESS, 100 + i, 2 * 200 + i)
        queue.add(Kind.EXPAND, 2 * 300 + i, 400 + i)
    assert [(b.kind, len(b.sources)) for b in queue.take()] == [
        (Kind.COMPRESS, 50),
        (Kind.EXPAND, 50),
    ]


def test_what_is_not_waits() -> None:
    """7 is compressed and freed; its frame takes checkpoints; one of those is expanded."""
    queue = CopyQueue(2)
    queue.add(Kind.COMPRESS, 7, 20)
    queue.add(Kind.COMPRESS, 8, 14)
    queue.add(Kind.MOVE, 14, 21)
    queue.add(Kind.EXPAND, 21, 9)
    assert [b.kind for b in queue.take()] == [
        Kind.COMPRESS,
        Kind.COMPRESS,
        Kind.MOVE,
        Kind.EXPAND,
    ]
