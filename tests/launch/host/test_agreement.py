"""What ranks agree on, over a real process group of two."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

pytest.importorskip("sglang")

from cachepawl.offload.tickets import Ready
from cachepawl_launch.host.agreement import agreement, all_well, nodes_here, ranks_here


def rank(number: int, store: Path, answers: Any) -> None:
    dist.init_process_group("gloo", f"file://{store}", rank=number, world_size=2)
    group = dist.group.WORLD
    well = all_well(group)
    answers.put(
        (
            number,
            [well(True), well(number == 0), well(False)],
            agreement(group)(Ready(3 + number, 5 - number, 3, 4)),
            [ranks_here(group, machines) for machines in (1, 2)],
            nodes_here(group, 1)(None if number else 7),
            nodes_here(group, 2)(number),
        )
    )
    dist.destroy_process_group()


def test_two_ranks(tmp_path: Path) -> None:
    forking = multiprocessing.get_context("fork")
    answers = forking.Queue()
    ranks = [
        forking.Process(target=rank, args=(n, tmp_path / "store", answers), daemon=True)
        for n in range(2)
    ]
    for process in ranks:
        process.start()
    said = sorted(answers.get(timeout=120) for _ in ranks)
    for process in ranks:
        process.join(60)
    same = ([True, False, False], Ready(3, 4, 3, 4), [2, 1], [7, None])
    assert said == [(0, *same, [0]), (1, *same, [1])]
    assert [process.exitcode for process in ranks] == [0, 0]


def test_alone_nobody_is_asked() -> None:
    assert [all_well(None)(well) for well in (True, False)] == [True, False]
    assert agreement(None)(Ready(1, 2, 1, 2)) == Ready(1, 2, 1, 2)
    assert ranks_here(None, 1) == 1
    assert nodes_here(None, 1)(3) == [3]
