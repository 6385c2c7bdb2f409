"""The scripts of `make test-gpu` without a GPU: what they would run, count and say."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.machine import missing

ROOT = Path(__file__).parents[2]
KERNELS, SERVER = (ROOT / "tests" / part / "on_gpu.py" for part in ("kernels", "server"))
WITHOUT = """
import json, os, runpy, sys
GONE = set({gone!r})
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
ours = ("cachepawl", "cachepawl_kernels", "cachepawl_launch", "cachepawl_patches", "benchmarks")
sys.path[:] = [p for p in sys.path if not any(os.path.isdir(os.path.join(p, o)) for o in ours)]
script = {script!r}
sys.path.insert(0, os.path.dirname(script))
"""
"""As `python SCRIPT` where neither those packages nor this repository are installed."""


def without(
    gone: list[str], script: Path, program: str, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    environment |= {"CACHEPAWL_KERNEL_TESTS": "interpreted", "TRITON_INTERPRET": "1"}
    program = WITHOUT.format(gone=gone, script=str(script)) + program
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "gone", "said"),
    [
        (KERNELS, ["hypothesis", "pytest_timeout", "sglang"],
         "not installed: hypothesis, pytest-timeout; nothing was tested\n"),
        (SERVER, ["triton", "sglang"], "not installed: triton, sglang; nothing was served\n"),
    ],
)  # fmt: skip
def test_missing_packages_are_named_in_one_line(
    script: Path, gone: list[str], said: str, tmp_path: Path
) -> None:
    done = without(gone, script, 'runpy.run_path(script, run_name="__main__")', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


PROGRAM = """
from pathlib import Path
from benchmarks.gpu.budget import Budget
class Once(Budget):
    "Time for the first test, and no other."
    times = 2
    @property
    def left(self):
        self.times -= 1
        return 100 * (self.times >= 0)
script = runpy.run_path(script)
not_run = script["absent_parts"]()
folders = script["_folders"](not_run)
found = script["kernel_tests"](folders, ["-q", "-p", "no:cacheprovider"], Once(0))
found = {"not_run": not_run, "kernels": found}
code = script["verdict"](found)
print(json.dumps([code, [f.name for f in folders], found]))
"""


@pytest.mark.stress
def test_the_kernels_need_no_sglang_and_what_had_no_time_is_named(tmp_path: Path) -> None:
    program = f"sys.path.insert(0, {str(ROOT)!r})" + PROGRAM
    done = without(["sglang", "flashinfer"], KERNELS, program, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    code, folders, found = json.loads(done.stdout.splitlines()[-1])
    assert folders == ["ops", "arena"]
    assert found["not_run"] == dict.fromkeys(
        ("SGLang's kernels", "server"), "sglang is not installed"
    )
    kernels = found["kernels"]
    assert code == 3, done.stdout + done.stderr
    assert (kernels["passed"], kernels["skipped"], kernels["failed"]) == (1, 0, [])
    names = kernels["not_checked"]
    assert len(names) > 100
    for folder in folders:
        assert any(f"tests/kernels/{folder}/" in name for name in names)
    assert done.stderr.count("not checked, out of time: ") == len(names)


@pytest.fixture(scope="module")
def server() -> Any:
    if missing(["sglang"]):
        pytest.skip("pip install cachepawl[serve]")
    spec = importlib.util.spec_from_file_location("server_on_gpu", SERVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_family_is_served_with_a_backend_in_turn(server: Any) -> None:
    families, backends = server.WIDE_FAMILIES, server.BACKENDS
    few = server.checks(families, backends, "cuda", everything=False)
    assert [str(check) for check in few] == [
        "hits of nemotron_h, flashinfer attention, cuda",
        "hits of qwen3_5, triton attention, cuda",
        "hits of falcon_h1, flashinfer attention, cuda",
        "hits of qwen3, triton attention, cuda",
        "host of nemotron_h, flashinfer attention, cuda",
        "control of nemotron_h, flashinfer attention, cuda",
        "control of qwen3_5, triton attention, cuda",
        "control of falcon_h1, flashinfer attention, cuda",
    ]
    every = server.checks(families, backends, "cuda", everything=True)
    assert len(set(every)) == 22
    assert set(few) < set(every)


def test_what_is_wrong_is_told_from_what_had_no_time(server: Any, tmp_path: Path) -> None:
    def make(check: Any) -> str:
        if check.what == "control":
            raise AssertionError("off by nothing")
        if check.what == "host":
            time.sleep(60)
        return "fine"

    hits, host, control = (server.Check(w, server.Run("qwen3", "triton", "cuda"))
                           for w in ("hits", "host", "control"))  # fmt: skip
    path = tmp_path / "found.json"
    found = server.go_through([hits, control, host, hits], make, Budget(2.0), path)
    assert found == json.loads(path.read_text())
    assert found == {
        "passed": {str(hits): "fine"},
        "failed": {str(control): "off by nothing"},
        "not_checked": [str(host), str(hits)],
    }


@pytest.mark.stress
def test_sglang_knows_the_flags(server: Any) -> None:
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    run = server.Run("qwen3_5", "triton", "cuda")
    words = server.command(run, 12345, [*server.CHECKED, *server.HOST])
    at = words.index("cachepawl.launch_server") + 1
    parsed, others = parser.parse_known_args(words[at:])
    assert parsed.decode_log_interval == server.LOG_EVERY
    assert parsed.attention_backend == "triton"
    assert others[::2] == [
        "--cachepawl-device-gb", "--cachepawl-check-level", "--cachepawl-host-gb",
    ]  # fmt: skip


def test_graphs_are_looked_for_in_sglangs_words(server: Any) -> None:
    captured = f"[10:00:00] {server.CAPTURED}. bs=[1, 2], elapsed=1.00 s\n"
    step = "[10:00:01] Decode batch, #running-req: 1, #token: 8, cuda graph: {}, #queue-req: 0\n"
    prefill = "[10:00:00] Prefill batch, #new-seq: 1, cuda graph: True, #queue-req: 0\n"
    log = captured + step.format(True) + step.format(False)
    assert server.graphs(log) == "1 of 2 logged steps of decode in CUDA graphs"
    with pytest.raises(AssertionError, match="no CUDA graphs were captured"):
        server.graphs(step.format(True))
    with pytest.raises(AssertionError, match="none of 1 logged steps"):
        server.graphs(captured + prefill + step.format(False))
    spec = importlib.util.find_spec("sglang")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "srt"
    setup = folder / "model_executor" / "model_runner_components" / "cuda_graph_setup.py"
    reporter = folder / "managers" / "scheduler_components" / "metrics_reporter.py"
    words = setup.read_text()
    assert '"cuda": "CUDA graph"' in words
    assert 'else "target"' in words
    assert 'f"{role} decode"' in words
    assert 'f"Capture {capture_name} {graph_backend[model_runner.device]} end. "' in words
    words = reporter.read_text()
    assert 'f"Decode batch' in words
    assert '"cuda graph")' in words
    assert re.search(r'f"\{self\._graph_backend_label\}: \{can_run_cuda_graph\}, "', words)
