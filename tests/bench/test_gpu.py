"""The GPU benchmark without a GPU: a dry run is right and leaves nothing, a real one says no."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import arena
from benchmarks.gpu.bench import gbps, must_equal, spread
from benchmarks.gpu.run import SECTIONS, below_the_bar
from benchmarks.gpu.tiers import DEVICE_BYTES, shapes_for
from cachepawl.pool.geometry import Geometry
from cachepawl.pool.moves import Moves

ROOT = Path(__file__).parents[2]
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_dry_run_is_right_and_records_nothing(tmp_path: Path) -> None:
    done = run("-m", "benchmarks.gpu.run", "--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": ")[1] for line in lines] == list(SECTIONS)
    assert all(line.startswith("DRY RUN, not a measurement: ") for line in lines)
    assert list(tmp_path.iterdir()) == []


@WITHOUT_GPU
@pytest.mark.parametrize("words", [["-m", "benchmarks.gpu.run"], ["tests/kernels/on_gpu.py"]])
def test_no_gpu_is_said_in_one_line(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("no GPU: torch ")
    assert done.stderr.count("\n") == 1


def test_rows_below_the_bar_are_named() -> None:
    copies = [
        {"row": "copy", "extent_bytes": size, "of_copy": share}
        for size, share in (
            (1024, 0.2), (16384, 0.75), (24576, 0.74), (65536, 0.9), (2**20, 0.89)
        )
    ]  # fmt: skip
    moved = [{"row": "evacuate", "of_copy": 0.8}, {"row": "clear 2 frames", "of_copy": 0.1}]
    attention = [{"row": "decode", "ratio": ratio} for ratio in (1.05, 1.06)]
    host = [
        {"row": "write pages", "by": by, "chosen": chosen, "extent_bytes": size, "of_pinned": share}
        for by, chosen, size, share in (
            ("engines", True, 65536, 0.9),
            ("engines", True, 65536, 0.89),
            ("one by one", False, 65536, 0.1),
            ("engines", True, 1024, 0.1),
        )
    ]
    loads: list[dict[str, Any]] = [
        {"row": row, "exposed": share, "forward_us": 300.0, "load_us": 100.0}
        for row, share in (
            ("load whole pages", 1.0),
            ("load layers by kernel", 0.5),
            ("load layers by pitched copies", 0.51),
        )
    ]
    loads += [{"row": "step", "blocked": share} for share in (0.1, 0.11)]
    found = {"extents": copies, "arena": moved, "attention": attention, "steps": []}
    found |= {"host": host, "loads": loads}
    assert below_the_bar(found) == [
        "copy of extents of 24576 bytes: 74% of one copy",
        "copy of extents of 1048576 bytes: 89% of one copy",
        "evacuate: 80% of one copy",
        "write pages by engines: 89% of a pinned copy",
        "load layers by pitched copies: 51% of it is not hidden behind a forward of 3.0 times its "
        "length",
        "step: the host was held for 11% of the device's work",
        "decode: 1.06 times the contiguous time",
    ]


@pytest.mark.parametrize("geometry", [arena.FULL, arena.DRY])
def test_the_evacuated_pages_have_places_of_their_own(geometry: Geometry) -> None:
    moves = Moves(arena.evacuation(geometry), geometry.pages_per_frame)
    sources, targets = list(moves.sources), list(moves.targets)
    full = geometry.pages_per_frame
    assert sources == list(range(2 * full, 3 * full))
    assert len(set(targets)) == full
    assert min(targets) >= 6 * full
    assert max(targets) < geometry.num_frames * full


def test_a_wrong_result_is_no_figure() -> None:
    with pytest.raises(AssertionError, match="copy: 1 elements differ from the reference"):
        must_equal("copy", torch.tensor([1, 2]), torch.tensor([1, 3]))


def test_extents_lie_apart_inside_their_room() -> None:
    offsets = spread(5, 48, 300)
    assert len(set(offsets.tolist())) == 5
    assert all(offset % 48 == 0 and offset + 48 <= 300 for offset in offsets.tolist())


def test_gigabytes_a_second() -> None:
    assert gbps(2 * 10**9, 10**6) == 2.0


def test_the_tiers_of_a_gpu_hold_what_is_moved() -> None:
    geometry = shapes_for(torch.device("cuda")).with_budget(DEVICE_BYTES)
    assert geometry.page_bytes == 384 * 2**10
    assert geometry.total_bytes // 2 > 256 * 2**20
    assert geometry.usable_frames > 3
