"""The GPU benchmark without a GPU: a dry run is right and leaves nothing, a real one says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import arena
from benchmarks.gpu.bars import below_the_bar, failed
from benchmarks.gpu.bench import gbps, must_equal, spread
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.machine import missing
from benchmarks.gpu.report import Report
from benchmarks.gpu.run import SECTIONS, dry_line, verdict
from benchmarks.gpu.sections import attempt, go_through
from benchmarks.gpu.tiers import DEVICE_BYTES, shapes_for
from cachepawl.pool.geometry import Geometry
from cachepawl.pool.moves import Moves

ROOT = Path(__file__).parents[2]
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


ROWS = {
    "extents": 5, "arena": 6, "states": 8, "transfers": 4, "host": 20, "loads": 4, "steps": 10,
}  # fmt: skip
"""Of a dry run; those of attention depend on what is installed."""
BARE = """
import os, sys
GONE = {"sglang", "flashinfer", "tabulate", "rich", "pydantic", "sortedcontainers", "zstandard"}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
ours = ("cachepawl", "cachepawl_kernels", "cachepawl_launch", "cachepawl_patches", "benchmarks")
installed = [p for p in sys.path if not any(os.path.isdir(os.path.join(p, o)) for o in ours)]
"""
"""No package but torch, Triton, NumPy and their like, and none of this repository's."""


def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


def test_a_dry_run_is_right_and_records_nothing(tmp_path: Path) -> None:
    done = run("-m", "benchmarks.gpu.run", "--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:-1] == [
        f"DRY RUN, not a measurement: {section}: {rows} rows, results are right"
        for section, rows in ROWS.items()
    ]
    assert lines[-1].startswith("DRY RUN, not a measurement: attention: ")
    assert "FAILED" not in lines[-1]
    assert (*ROWS, "attention") == SECTIONS
    if not missing(["sglang"]):
        assert ": attention: 2 rows, results are right; flashinfer decode: skipped" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_torch_and_triton_are_enough(tmp_path: Path) -> None:
    """Nothing of this repository is installed, and no library that is only compared with."""
    program = (
        BARE
        + f"""
sys.path[:] = [{str(ROOT)!r}, *installed]
from benchmarks.gpu import run
code = run.main(["--dry-run", "--only", "attention"])
from importlib import import_module
for section in run.SECTIONS:
    import_module(f"benchmarks.gpu.{{section}}")
from benchmarks.gpu.report import table
print(table([{{"row": "a", "us": 1234.5}}, {{"row": "b", "gbps": 2, "us": False}}]))
assert not {{name.partition(".")[0] for name in sys.modules}} & GONE
sys.exit(code)
"""
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = run("-c", program, env=environment)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    kernels = ("sglang triton decode", "sglang triton prefill", "flashinfer decode",
               "flashinfer prefill")  # fmt: skip
    assert first == "; ".join(
        ["DRY RUN, not a measurement: attention: 0 rows"]
        + [f"{name}: skipped: {name.split()[0]} is not installed" for name in kernels]
    )
    assert lines == ["row  us       gbps", "a    1,234.5", "b    False    2"]


def test_a_section_that_fails_or_has_no_time_takes_no_other_with_it() -> None:
    def measure(name: str) -> Iterator[dict[str, Any]]:
        yield {"row": f"{name} before"}
        if name == "broken":
            raise RuntimeError("no such kernel")
        yield attempt("half", lambda: {"row": 1 / 0} if name == "half" else {"row": "half"})
        if name == "long":
            time.sleep(60)

    names = ("broken", "half", "fine", "long", "late")
    sections = {s.name: s for s in go_through(names, measure, Budget(2.0))}
    found = {name: section.rows for name, section in sections.items()}
    assert list(sections) == list(names)
    assert failed(found) == [
        "broken: broken: RuntimeError: no such kernel", "half: half: ZeroDivisionError: division "
        "by zero",
    ]  # fmt: skip
    assert found["fine"] == [{"row": "fine before"}, {"row": "half"}]
    assert {name: s.why_not for name, s in sections.items() if s.why_not} == {
        "long": "out of time after 2 rows", "late": "out of time after 0 rows",
    }  # fmt: skip
    assert verdict(list(sections.values())) == 1
    assert verdict([sections["fine"], sections["late"]]) == 3
    assert verdict([sections["fine"]]) == 0
    assert dry_line(sections["half"]) == "1 rows, results are right; half: FAILED"
    assert dry_line(sections["late"]) == "0 rows; out of time after 0 rows"


def test_a_report_keeps_what_the_same_machine_has_left(tmp_path: Path) -> None:
    path, rows = tmp_path / "gpu.json", [{"row": "decode", "ratio": 1.2}]
    first = Report(path, {"gpu": "A"}, {"time": 1}, keep=False)
    first.add("attention", rows, None)
    first.add("steps", [], "out of time after 0 rows")
    second = Report(path, {"gpu": "A"}, {"time": 2}, keep=True)
    second.add("steps", [{"row": "steps", "error": "RuntimeError: no"}], None)
    assert json.loads(path.read_text()) == {
        "machine": {"gpu": "A"},
        "runs": {"attention": {"time": 1}, "steps": {"time": 2}},
        "below_the_bar": ["decode: 1.2 times the contiguous time"],
        "failed": ["steps: steps: RuntimeError: no"],
        "not_measured": {},
        "attention": rows,
        "steps": [{"row": "steps", "error": "RuntimeError: no"}],
    }
    kept = path.read_text()
    Report(path, {"gpu": "B"}, {"time": 3}, keep=True).add("steps", [{"row": "x"}], None)
    assert "attention" not in json.loads(path.read_text())
    assert (tmp_path / "gpu.old.json").read_text() == kept


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_a_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert missing(["json", "not_a_package", "nowhere"]) == ["not_a_package", "nowhere"]


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
