"""`python tests/kernels/on_gpu.py`: the kernels' tests, compiled, on a GPU; then the real server.

The same tests that run interpreted without one.  They need torch, Triton, NumPy, pytest, Hypothesis
and pytest-timeout; SGLang's kernels need SGLang, and the server (`tests/server/on_gpu.py`) both
SGLang and cachepawl installed.  What is not run for want of those is said, and is no failure.

Exit code 0 when all that was run is right; 1 when something is wrong; 2 without a GPU or a needed
package; 3 when nothing is wrong but the time (`--budget-s`) did not suffice for everything: what
was not checked is named.  Counts and machine go to `gpu-tests.json` in `--out`.  Other arguments go
to pytest.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVER = ROOT / "tests" / "server" / "on_gpu.py"
# Of this checkout, installed or not.  And not this folder, where `sglang` holds tests.
sys.path[:] = [
    *(str(ROOT / part) for part in ("", "kernels", "launch", "patches")),
    *(path for path in sys.path if Path(path or ".").resolve() != HERE),
]

from benchmarks.gpu.budget import SECONDS, Budget
from benchmarks.gpu.machine import describe, missing, this_run
from benchmarks.gpu.report import write_json

NEEDED = ("torch", "triton", "numpy", "pytest", "hypothesis", "pytest_timeout")
OUT_OF_TIME = "out of time"
GRACE_S = 20
"""For the server's processes to end in, twice."""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests/kernels/on_gpu.py", description=__doc__)
    parser.add_argument("--budget-s", type=float, default=SECONDS, help="seconds for all of it")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="for the JSON")
    options, more = parser.parse_known_args(words)
    budget = Budget(options.budget_s)
    if absent := missing(NEEDED):
        names = ", ".join(absent).replace("_", "-")
        print(f"not installed: {names}; nothing was tested", file=sys.stderr)
        return 2
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees none; nothing was tested", file=sys.stderr)
        return 2
    os.environ["CACHEPAWL_KERNEL_TESTS"] = "gpu"
    os.environ["TRITON_INTERPRET"] = "0"
    found: dict[str, Any] = {"machine": describe(), "run": this_run()}
    for key, value in (found["machine"] | found["run"]).items():
        print(f"{key}: {value}")
    path, not_run = options.out / "gpu-tests.json", absent_parts()
    path.unlink(missing_ok=True)  # another run's, should this process not live to write its own
    found |= {"not_run": not_run, "kernels": kernel_tests(_folders(not_run), more, budget)}
    write_json(path, found)
    if "server" not in not_run:
        gc.collect()
        torch.cuda.empty_cache()  # for the server, which is another process
        found["server"] = served(budget)
        write_json(path, found)
    print(f"written to {path}")
    return verdict(found)


def absent_parts() -> dict[str, str]:
    """What is not run, and why."""
    if missing(["sglang"]):
        return dict.fromkeys(("SGLang's kernels", "server"), "sglang is not installed")
    if "cachepawl" not in entry_points(group="sglang.srt.plugins").names:
        return {"server": "cachepawl is not installed: pip install -e '.[dev]'"}
    return {}


def _folders(not_run: dict[str, str]) -> list[Path]:
    return [HERE / "ops", HERE / "arena"] + [HERE / "sglang"] * ("SGLang's kernels" not in not_run)


def kernel_tests(folders: Sequence[Path], more: Sequence[str], budget: Budget) -> dict[str, Any]:
    """Runs pytest in this process: how many passed, and the names of those that did not."""
    import pytest

    class Watch:
        """Counts, and lets no test begin or go on when the time is up."""

        def __init__(self) -> None:
            self.passed = self.skipped = 0
            self.failed: list[str] = []
            self.not_checked: list[str] = []

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
            if budget.left:
                item.add_marker(pytest.mark.timeout(math.ceil(budget.left)), append=False)
            else:
                self.not_checked.append(item.nodeid)
                item.add_marker(pytest.mark.skip(reason=OUT_OF_TIME), append=False)
            return (yield)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                self.failed.append(report.nodeid)
            elif report.skipped and report.nodeid not in self.not_checked[-1:]:
                self.skipped += 1
            elif report.passed and report.when == "call":
                self.passed += 1

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                self.failed.append(report.nodeid)

    watch = Watch()
    code = int(pytest.main([*map(str, folders), *more], plugins=[watch]))
    if code and not watch.failed:
        watch.failed.append(f"pytest ended with exit code {code}")
    return {
        "passed": watch.passed, "skipped": watch.skipped, "failed": watch.failed,
        "not_checked": watch.not_checked,
    }  # fmt: skip


def served(budget: Budget) -> dict[str, Any]:
    """What the server's script found in the time that is left, in a process of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "server.json"
        words = ["--budget-s", f"{budget.left:.0f}", "--json", str(path)]
        process = subprocess.Popen([sys.executable, str(SERVER), *words])
        try:
            code = process.wait(budget.left + GRACE_S)
        except subprocess.TimeoutExpired:
            code = _end(process)
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"failed": {}}
    if code not in (0, 3) and not found["failed"]:
        found["failed"] = {str(SERVER.relative_to(ROOT)): f"ended with exit code {code}"}
    return found


def _end(process: subprocess.Popen[bytes]) -> int:
    """It ends its servers when asked to."""
    process.terminate()
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def verdict(found: dict[str, Any]) -> int:
    """Says what failed and what was not checked, and gives the exit code."""
    parts = [found["kernels"], found.get("server", {})]
    failed, undone = ([n for p in parts for n in p.get(k, ())] for k in ("failed", "not_checked"))
    for name, why in found["not_run"].items():
        print(f"not run: {name}: {why}")
    for said, names in (("failed", failed), ("not checked, out of time", undone)):
        for name in names:
            print(f"{said}: {name}", file=sys.stderr)
    return 1 if failed else 3 if undone else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
