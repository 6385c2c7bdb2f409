"""A real server holds what the offline plan of its command line says, to the unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from cells import Cell
from harness import Server, running
from plans import AMPLE, Sizes, flags_of, logged_numbers, planned, reported, spec_of_server

from cachepawl.offline.sglang.memory import arena_plan
from cachepawl_launch.cpu.flags import Limits


def test_the_arena(cell: Cell, server: Server) -> None:
    flags = flags_of(server)
    plan = arena_plan(spec_of_server(server), flags, AMPLE)
    assert plan.budget.source == "--cachepawl-device-gb"
    sizes = Sizes(plan.most_tokens, plan.most_states, plan.max_running_requests)
    assert sizes == reported(server)
    assert logged_numbers(server, r"arena: (\d+) bytes reserved") == [plan.reserved_bytes]
    assert logged_numbers(server, r"bytes reserved, (\d+) frames") == [plan.geometry.usable_frames]
    assert plan.settled.page_tokens == cell.page


@pytest.mark.stress
@pytest.mark.xdist_group("plans")
def test_the_static_split_of_attention_alone(tmp_path: Path) -> None:
    """Hybrid models' stock servers are compared where they run anyway (test_beside_stock.py)."""
    limits = Limits(total_tokens=3001, requests=None, context=512)
    with running("qwen3", 16, tmp_path, pawl=False, limits=limits) as stock:
        assert planned(stock) == reported(stock) == Sizes(2992, 0, 1496)
