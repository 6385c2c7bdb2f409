"""The capacity benchmark: every layout does the same work, and counts what it moves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.capacity.arena import Evacuating, Frames
from benchmarks.capacity.counted import fluid, static
from benchmarks.capacity.ends import End
from benchmarks.capacity.play import play
from benchmarks.capacity.policy import Layout
from benchmarks.capacity.run import main, missed
from benchmarks.capacity.two_ends import TwoEnds
from benchmarks.capacity.workload import STATES, Arrival
from cachepawl.pool.geometry import Geometry, KvShape, StateShape

KV_SHAPE = KvShape(layers=1, heads=1, head_dim=8, v_head_dim=8, itemsize=2)
GEOMETRY = Geometry(KV_SHAPE, StateShape(1, (), 2, (5 * KV_SHAPE.entry_bytes // 4,), 4), 1)
FRAME = GEOMETRY.frame_bytes
BUDGET = 41 * FRAME


def mixed(seed: int, count: int = 120) -> list[Arrival]:
    draw = random.Random(seed)
    return [Arrival(n, draw.choice((2, 3, 40)), draw.choice((1, 3, 12))) for n in range(count)]


def layouts() -> list[Layout]:
    return [
        fluid(GEOMETRY, BUDGET),
        static(GEOMETRY, BUDGET, 0.4),
        Frames(GEOMETRY, BUDGET),
        Evacuating(GEOMETRY, BUDGET),
        TwoEnds(GEOMETRY, BUDGET),
    ]


@pytest.mark.parametrize("keep", [False, True])
def test_all_requests_are_served_and_nothing_is_left(keep: bool) -> None:
    for layout in layouts():
        played = play(layout, mixed(1), BUDGET, keep=keep)
        assert 0 < played.live_fraction <= 1
        assert (layout.live_bytes() == 0) == (not keep)


def test_a_deadlock_is_an_error() -> None:
    with pytest.raises(AssertionError, match="static: deadlock before request"):
        play(static(GEOMETRY, BUDGET, 0.9), mixed(1), BUDGET, keep=False)


def test_no_layout_beats_the_fluid_and_packing_beats_staying() -> None:
    live: dict[str, float] = {}
    for layout in layouts():
        live[layout.name] = play(layout, mixed(3, 400), BUDGET, keep=False).live_fraction
    assert max(live, key=live.__getitem__) in ("fluid", "two ends")
    assert live["evacuation"] >= live["frames"]
    assert live["static"] < live["frames"]


def test_evacuation_keeps_every_invariant() -> None:
    layout = Evacuating(GEOMETRY, BUDGET)
    play(layout, mixed(4, 400), BUDGET, keep=True)
    assert 0 < layout.worst_burst_bytes <= 2 * FRAME
    assert layout.bytes_moved == layout.cache.counters.evacuated_pages * GEOMETRY.page_bytes
    layout.cache.check(2)


def test_an_end_packs_into_its_lowest_holes() -> None:
    end = End(10)
    first, rest = end.take(6), end.take(2)
    end.give([first[1], first[3], rest[1]])
    # places 0 2 4 5 6 are live; 7 is a hole at the frontier, 1 and 3 are inside
    assert end.pack() == 2
    assert (end.frontier, end.holes) == (5, [])
    assert sorted(end.place_of.values()) == [0, 1, 2, 3, 4]
    assert all(end.owner_at[place] == one for one, place in end.place_of.items())
    end.give(list(end.place_of))
    assert (end.pack(), end.frontier) == (0, 0)


def test_packing_counts_what_it_moves() -> None:
    layout = TwoEnds(GEOMETRY, BUDGET)
    long, short = Arrival(1, 60, 1), Arrival(2, 70, 1)
    assert layout.admit(long, 0)
    assert layout.admit(short, 0)
    layout.finish(1, keep=False)
    assert layout.bytes_moved == 0
    number = 3
    while layout.admit(Arrival(number, 1, 1), 0):
        number += 1
    # The states came as far as the KV frontier, and 60 holes below it were wanted.
    assert layout.bytes_moved == layout.worst_burst_bytes
    assert 0 < layout.bytes_moved <= 70 * GEOMETRY.page_bytes
    assert layout.live_bytes() + STATES * GEOMETRY.state_bytes > BUDGET - 2 * GEOMETRY.page_bytes


def test_missed_targets_are_named() -> None:
    def cell(policy: str, live: float, moved: int, burst: int) -> dict[str, Any]:
        names = {"geometry": "m", "workload": "w", "policy": policy}
        return names | {"live_fraction": live, "bytes_moved": moved, "worst_burst_bytes": burst}

    others = [cell("fluid", 1.0, 0, 0), cell("two ends", 1.0, 100, 100)]
    assert missed([*others, cell("evacuation", 0.97, 15, 20)], {"m": 10}) == []
    wrong = missed([*others, cell("evacuation", 0.96, 16, 21)], {"m": 10})
    assert [line.split(": ")[1].split()[0] for line in wrong] == ["96.0%", "16", "a"]


def test_the_command_writes_all_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--model", "Zamba2-7B", "--gib", "40"]) in (0, 1)
    found = json.loads((tmp_path / "capacity.json").read_text())
    assert {cell["policy"] for cell in found["cells"]} == {
        "fluid", "frames", "evacuation", "two ends", "static"
    }  # fmt: skip
    assert {cell["workload"] for cell in found["cells"]} == {"running", "cached"}
    assert len(found["cells"]) == 10
    assert "Zamba2-7B" in capsys.readouterr().out
