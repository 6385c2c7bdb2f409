"""Where a prefill stops early, and where it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl.snapshots import SnapshotPlan, default_grid

GRID = 64


@pytest.mark.parametrize(
    ("prompt", "usable", "branch", "stop"),
    [
        (100, 0, None, None),  # one snapshot, at 64, serves all
        (64, 0, None, None),  # the grid has nothing shallower
        (128, 0, None, 64),  # an identical prompt needs the one at 64
        (192, 128, None, None),  # and has it already
        (250, 0, 64, 64),  # the branch, and then the end at 192
        (250, 64, 128, 64),
        (100, 0, 64, None),  # the branch is the end
    ],
)
def test_stops(prompt: int, usable: int, branch: int | None, stop: int | None) -> None:
    assert SnapshotPlan(GRID, enabled=True).first_stop(prompt, usable, branch) == stop


def test_switched_off() -> None:
    assert SnapshotPlan(GRID, enabled=False).first_stop(128, 0, 64) is None


@pytest.mark.parametrize(("room", "tokens"), [(256, 256), (255, 192), (64, 64), (63, 0), (0, 0)])
def test_a_chunk_that_goes_on_ends_on_the_grid(room: int, tokens: int) -> None:
    assert SnapshotPlan(GRID, enabled=False).chunk(room) == tokens


@given(
    prompt=st.integers(1, 2000),
    usable=st.integers(0, 30).map(lambda n: n * GRID),
    branch=st.one_of(st.none(), st.integers(1, 30).map(lambda n: n * GRID)),
)
def test_a_stop_is_a_snapshot_inside_the_prefill(
    prompt: int, usable: int, branch: int | None
) -> None:
    if usable >= prompt:
        return
    stop = SnapshotPlan(GRID, enabled=True).first_stop(prompt, usable, branch)
    if stop is not None:
        assert stop % GRID == 0
        assert 0 < stop < prompt - usable
        assert prompt - usable - stop >= GRID or (prompt - usable - stop) % GRID == 0


@pytest.mark.parametrize(
    ("start", "stop", "branch", "depth"),
    [
        (0, 63, None, None),  # less than a step
        (0, 64, None, 64),
        (0, 250, None, 192),
        (64, 250, None, 192),
        (30, 130, None, 94),  # steps count from where the forward starts
        (0, 250, 128, 128),  # the branch has the one snapshot
        (128, 250, 128, 192),  # the branch lies behind
        (0, 128, 192, 128),  # or ahead
    ],
)
def test_one_snapshot_a_forward(
    start: int, stop: int, branch: int | None, depth: int | None
) -> None:
    assert SnapshotPlan(GRID, enabled=True).snapshot(start, stop, branch) == depth


@pytest.mark.parametrize(
    ("kv_len", "usable", "branch"),
    [(0, 0, None), (63, 0, None), (130, 0, 128), (130, 64, 128), (128, 128, None), (100, 30, 94)],
)
def test_branch_point(kv_len: int, usable: int, branch: int | None) -> None:
    assert SnapshotPlan(GRID, enabled=True).branch_point(kv_len, usable) == branch


@pytest.mark.parametrize(
    ("page", "chunk", "grid"), [(1, 64, 64), (16, 64, 64), (64, 64, 64), (128, 64, 128)]
)
def test_default_grid(page: int, chunk: int, grid: int) -> None:
    assert default_grid(page, chunk) == grid


@pytest.mark.parametrize(
    ("marks", "usable", "stop"),
    [
        ([100], 0, 64),
        ([63], 0, None),  # not one step
        ([250], 0, None),  # the snapshot at the end serves it
        ([100], 64, None),  # a state serves it already
        ([10, 70, 130], 64, 64),  # 10 is behind, 70 is no step away
        ([130], 10, 64),  # steps are counted from where the forward starts: 10, 74, 138
    ],
)
def test_a_mark(marks: list[int], usable: int, stop: int | None) -> None:
    plan = SnapshotPlan(GRID, enabled=True)
    assert plan.first_stop(250, usable, None, marks) == stop
    assert SnapshotPlan(GRID, enabled=False).first_stop(250, usable, None, marks) is None


def test_a_branch_goes_before_a_mark() -> None:
    assert SnapshotPlan(GRID, enabled=True).first_stop(250, 0, 128, [100]) == 128
