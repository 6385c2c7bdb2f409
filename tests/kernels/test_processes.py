"""The kernels' tests, each kind in a process of its own: interpreted, compiled, beside SGLang."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS_SGLANG = pytest.mark.skipif(
    importlib.util.find_spec("sglang") is None, reason="pip install cachepawl[serve]"
)
INTERPRETED = {"TRITON_INTERPRET": "1", "CACHEPAWL_KERNEL_TESTS": "interpreted"}


@pytest.mark.skipif(
    "CACHEPAWL_KERNEL_TESTS" in os.environ, reason="this is a process that it started"
)
@pytest.mark.parametrize(
    ("folders", "environment"),
    [
        pytest.param(["ops", "arena"], INTERPRETED, id="interpreted"),
        pytest.param(
            ["compiled"],
            {"TRITON_INTERPRET": "0", "CACHEPAWL_KERNEL_TESTS": "compiled"},
            id="compiled",
        ),
        pytest.param(["sglang"], INTERPRETED, marks=NEEDS_SGLANG, id="sglang"),
    ],
)
def test_in_a_process_of_its_own(
    folders: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    words += [str(HERE / folder) for folder in folders]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        words,
        env=inherited | environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4_000:]
    assert re.search(r"\d+ passed", done.stdout), done.stdout
    for folder in folders:
        assert f"kernels/{folder}/" in done.stdout, "nothing was collected there"
