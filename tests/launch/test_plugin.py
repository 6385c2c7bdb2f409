"""Installed but not wanted: a plain SGLang is left alone.  Wanted: it is, or the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

from cachepawl.config import ENVIRONMENT, Options

LOOK = """
import sys
from sglang.srt.plugins import load_plugins
from sglang.srt.plugins.hook_registry import HookRegistry
from sglang.srt.mem_cache.registry import registered_radix_cache_backends
load_plugins()
ours = [hook for hooks in list(HookRegistry._hooks.values()) for _, hook, _ in hooks
        if hook.__module__.startswith("cachepawl")]
print(len(ours), "cachepawl" in registered_radix_cache_backends(),
      "cachepawl_launch.install" in sys.modules)
"""


CLEAN = {k: v for k, v in os.environ.items() if k not in (ENVIRONMENT, "SGLANG_PLATFORM")}
MODULES = [
    "sglang.srt.plugins", "sglang.srt.plugins.hook_registry", "sglang.srt.mem_cache.registry",
]  # fmt: skip
"""What LOOK imports."""


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with Forked(MODULES, CLEAN) as ready:
        yield ready


def look(forked: Forked, code: str = LOOK, **env: str) -> subprocess.CompletedProcess[str]:
    return forked.run(["-c", code], CLEAN | env, Path.cwd())


UNAPPLIED = """
from cachepawl_launch.install import check_applied
from cachepawl.config import Options
from cachepawl.errors import ConfigError
try:
    check_applied(Options())
except ConfigError as error:
    print(error)
"""


pytestmark = pytest.mark.xdist_group("plugin")


def test_not_wanted_nothing_is_touched(forked: Forked) -> None:
    """And whoever asks for the patches there is told that they are not in place.

    In a process of its own, and by a fork, which says the same.
    """
    call = ["-c", LOOK + UNAPPLIED]
    done = subprocess.run(
        [sys.executable, *call], env=CLEAN, capture_output=True, text=True, check=False
    )
    again = look(forked, LOOK + UNAPPLIED)
    assert (again.returncode, again.stdout) == (done.returncode, done.stdout)
    touched, asked = done.stdout.split("\n", 1)
    assert touched.split() == ["0", "False", "False"], done.stderr
    assert "did not apply the patch" in asked


@pytest.mark.parametrize(
    "more",
    [
        {"host_gb": "1", "policy": "joint"},  # every patch that there is
        pytest.param({}, marks=pytest.mark.stress),  # as all servers of the tests have them
    ],
    ids=["all", "least"],
)
def test_wanted_every_patch_is_applied(forked: Forked, more: dict[str, Any]) -> None:
    options = Options(**more)
    check = LOOK + (
        "from cachepawl.config import options_from_environment as options\n"
        "from cachepawl_launch.install import check_applied; check_applied(options())"
    )
    done = look(forked, check, **{ENVIRONMENT: options.model_dump_json()})
    hooks, backend, installed = done.stdout.split()
    assert (int(hooks) > 0, backend, installed) == (True, "True", "True")
    assert done.returncode == 0, done.stderr


def test_wrong_options_end_the_process(forked: Forked) -> None:
    done = look(forked, **{ENVIRONMENT: '{"policy": "magic"}'})
    assert done.returncode == 3
    assert "cachepawl: --cachepawl-policy 'magic'" in done.stderr
