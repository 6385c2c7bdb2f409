"""Ranks begin with what the first one finds, in processes of their own over gloo."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import torch.distributed as dist

from cachepawl.errors import ConfigError
from cachepawl.policy.joint.history import OldSpell, load, save
from cachepawl_launch.same_history import same_history

RANKS = 3
MINE, OTHER = OldSpell((1, 0, 0, 0), 5, True), OldSpell((0, 2, 0, 0, 0), 7, False)


def rank(number: int, folder: Path, members: list[int], answers: Any) -> None:
    """One process; its group are the members, its file is its own."""
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=RANKS)
    group = dist.new_group(members)
    if number in members:
        try:
            answers.put((number, same_history(folder / f"history.{number}", group)))
        except ConfigError as error:
            answers.put((number, str(error)))
    dist.barrier()
    dist.destroy_process_group()


def found(folder: Path, members: list[int]) -> dict[int, Any]:
    """What each rank of a group begins with, or why it does not."""
    of = multiprocessing.get_context("fork")
    answers = of.Queue()
    ranks = [of.Process(target=rank, args=(i, folder, members, answers)) for i in range(RANKS)]
    for process in ranks:
        process.start()
    said = dict(answers.get(timeout=60) for _ in members)
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0
    return said


def test_the_first_ranks_file_is_everybodys(tmp_path: Path) -> None:
    """Of a group that begins with the second process; the last has another file, or none."""
    save(tmp_path / "history.0", [OTHER])
    save(tmp_path / "history.1", [MINE] * 2000)
    assert found(tmp_path, [1, 2]) == dict.fromkeys((1, 2), [MINE] * 2000)
    assert load(tmp_path / "history.2") == []


def test_a_bad_file_is_refused_by_all(tmp_path: Path) -> None:
    (tmp_path / "history.0").write_text("{")
    save(tmp_path / "history.1", [OTHER])
    said = found(tmp_path, [0, 1, 2])
    assert set(said) == {0, 1, 2}
    for why in said.values():
        assert f"{tmp_path / 'history.0'}: no JSON" in why


def test_alone(tmp_path: Path) -> None:
    save(tmp_path / "history", [MINE])
    assert same_history(tmp_path / "history", None) == [MINE]
