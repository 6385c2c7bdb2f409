"""Where a prefill stops early, and where it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_launch.snapshots import SnapshotPlan

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
