"""`make bench` writes JSON that can be read, and says what it measured on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_alloc, bench_tree

pytestmark = pytest.mark.xdist_group("make bench")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess, Path]:
    out = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--quick", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done, out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_tree_rows(quick: tuple[subprocess.CompletedProcess, Path]) -> None:
    done, out = quick
    rows = read(out / "tree.json")
    assert [row["row"] for row in rows] == list(bench_tree.ROWS)
    for row in rows:
        assert row["page"] == 64
        assert row["ours_us"] > 0
        assert row["python_us"] > 0
        assert row["rust_us"] is None or row["rust_us"] > 0
    # How fast it is, is no test; that it says so is.
    too_slow = bench_tree.above_the_bar(rows)
    assert done.returncode == (1 if too_slow else 0), done.stderr
    assert done.stdout.count("not below SGLang's Python core") == len(too_slow)


def test_allocation_rows(quick: tuple[subprocess.CompletedProcess, Path]) -> None:
    rows = read(quick[1] / "alloc.json")
    assert [row["row"] for row in rows] == list(bench_alloc.ROWS)
    assert all(row["host_us"] > 0 and row["sglang_us"] > 0 for row in rows)


def test_the_machine(quick: tuple[subprocess.CompletedProcess, Path]) -> None:
    machine = read(quick[1] / "machine.json")
    for name in ("cpu", "python", "torch", "sglang", "triton", "rust_core"):
        assert machine[name], name


def test_the_tables_are_printed(quick: tuple[subprocess.CompletedProcess, Path]) -> None:
    stdout = quick[0].stdout
    for row in (*bench_tree.ROWS, *bench_alloc.ROWS, "python / ours", "rust / ours"):
        assert row in stdout
