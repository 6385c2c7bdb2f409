"""What is wrong is one clear line and a non-zero exit; nothing is left running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import imported
import psutil
import pytest
from forked import Forked
from harness import command, model_folder
from ports import free_port

from cachepawl_launch.cpu.flags import Limits, serve_env
from cachepawl_launch.cpu.tiny import make_tiny

pytestmark = pytest.mark.xdist_group("bad input")
FAMILY, PAGE = "nemotron_h", 16


@pytest.fixture(scope="module")
def forked() -> Forked:
    """A process that has imported SGLang."""
    return imported.forked()


def launch(
    words: list[str],
    folder: Path,
    env: dict[str, str] | None = None,
    *,
    forked: Forked | None = None,
) -> tuple[int, list[str]]:
    """Exit code and cachepawl's own lines; asserts that no process outlives the launcher."""
    marker = f"cachepawl-test-{os.getpid()}-{free_port()}"
    environ = os.environ | serve_env() | {"CACHEPAWL_TEST": marker} | (env or {})
    if forked is not None:
        done = forked.run(words[1:], environ, folder)
    else:
        done = subprocess.run(
            words, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False
        )
    left = [p for p in psutil.process_iter() if _has(p, marker)]
    assert not left, left
    return done.returncode, [x for x in done.stderr.splitlines() if x.startswith("cachepawl:")]


def _has(process: psutil.Process, marker: str) -> bool:
    try:
        return process.environ().get("CACHEPAWL_TEST") == marker
    except (psutil.Error, OSError):
        return False


def words(*more: str, page: int = PAGE, port: int | None = None) -> list[str]:
    return command(FAMILY, page, port or free_port(), pawl=True, limits=Limits(), more=list(more))


EARLY = [
    (["--cachepawl-devise-gb", "1"], ["--cachepawl-devise-gb", "--cachepawl-device-gb"]),
    (["--cachepawl-device-gb", "-1"], ["--cachepawl-device-gb -1.0", "greater than 0"]),
    (["--cachepawl-trace", "nowhere/log"], ["--cachepawl-trace", "/nowhere/log: No such file"]),
]
"""Refused before SGLang is imported, each in a process of its own."""
LATE = [
    (["--enable-unified-memory"], ["--enable-unified-memory", "not supported"]),
    (["--cachepawl-device-gb", "0.00005"], ["53687 bytes", "81920 bytes"]),
    (["--no-such-flag"], ["--no-such-flag"]),
]
HOST_TIER = [
    (["--cachepawl-host-gb", "0"], ["--cachepawl-host-gb 0", "give a positive number"]),
    (["--cachepawl-host-gb", "-1"], ["--cachepawl-host-gb -1", "give a positive number"]),
    (["--cachepawl-host-gb", "1000000"], ["a host tier of 1073741824000000 bytes", "or less"]),
    (
        ["--cachepawl-host-gb", "1", "--cachepawl-write-policy", "sometimes"],
        ["--cachepawl-write-policy 'sometimes'", "'write_through'"],
    ),
    (["--cachepawl-host-remote"], ["--cachepawl-host-remote", "give --cachepawl-host-gb too"]),
]
"""Refused before or after the import; all by forks, for they are cheap."""
ALIKE = [
    (["--cachepawl-check-level", "7"], ["--cachepawl-check-level 7", "0, 1 or 2"]),
    (["--cachepawl-trace", "."], ["--cachepawl-trace", "is a directory; name a file"]),
    (["--cachepawl-trace-mb", "0"], ["--cachepawl-trace-mb 0.0", "greater than 0"]),
    (["--cachepawl-trace-salt", "x"], ["--cachepawl-trace-salt", "give --cachepawl-trace too"]),
]
"""Refused in the same places as those of `EARLY`."""


@pytest.mark.parametrize(
    ("more", "says"), EARLY + [pytest.param(*case, marks=pytest.mark.stress) for case in ALIKE]
)
def test_one_line_and_exit_2(more: list[str], says: list[str], tmp_path: Path) -> None:
    code, lines = launch(words(*more), tmp_path)
    assert code == 2
    assert all(text in lines[-1] for text in says), lines


@pytest.mark.parametrize(("more", "says"), LATE + HOST_TIER)
def test_so_it_is_after_the_import(
    forked: Forked, more: list[str], says: list[str], tmp_path: Path
) -> None:
    code, lines = launch(words(*more), tmp_path, forked=forked)
    assert code == 2
    assert all(text in lines[-1] for text in says), lines


def test_missing_checkpoint(forked: Forked, tmp_path: Path) -> None:
    where = tmp_path / "nowhere"
    call = [sys.executable, "-m", "cachepawl.launch_server", "--cachepawl-cpu"]
    code, lines = launch([*call, "--model-path", str(where)], tmp_path, forked=forked)
    assert code == 2
    assert lines == [
        f"cachepawl: --model-path {where}: no checkpoint there (config.json is missing)"
    ]


def test_port_in_use(forked: Forked, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, lines = launch(words(port=port), tmp_path, forked=forked)
    assert code == 2
    assert f"--port {port}" in lines[-1]
    assert "in use" in lines[-1]


def test_plugins_switched_off(tmp_path: Path) -> None:
    code, lines = launch(words(), tmp_path, {"SGLANG_PLUGINS": "somebody_else"})
    assert code == 2
    assert "SGLANG_PLUGINS=somebody_else" in lines[-1]


def test_another_platform(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "cachepawl.launch_server"]
    model = str(make_tiny(FAMILY, model_folder()))
    code, lines = launch([*call, "--model-path", model], tmp_path, {"SGLANG_PLATFORM": "npu_x"})
    assert code == 2
    assert "SGLANG_PLATFORM=npu_x" in lines[-1]


def test_plugin_not_importable_in_a_child(tmp_path: Path) -> None:
    """The scheduler's process cannot import us: the server ends instead of serving without."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
        import sys
        if any("spawn_main" in word for word in sys.orig_argv):
            sys.modules["cachepawl_launch"] = None
        """)
    )
    code, _ = launch(words(), tmp_path, {"PYTHONPATH": str(tmp_path)})
    assert code != 0


def test_dry_run_says_what_fits_and_stops(forked: Forked, tmp_path: Path) -> None:
    """In a process of its own, and by a fork, which says the same."""
    call = words("--cachepawl-dry-run", "--cachepawl-device-gb", "0.01")
    environ = os.environ | serve_env()
    done = subprocess.run(
        call, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0
    again = forked.run(call[1:], environ, tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert said_by_us(again.stderr) == said_by_us(done.stderr)
    for text in ("KV of a token", "512 B", "11.00 KiB", "requests of 32k", "exact"):
        assert text in done.stderr


def said_by_us(stderr: str) -> str:
    """From our first line on; before it, libraries warn while they are imported."""
    return stderr[stderr.index("cachepawl ") :]
