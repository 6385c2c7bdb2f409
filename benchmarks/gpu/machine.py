"""What the figures of a GPU depend on: the machine, and the run that gave them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def describe() -> dict[str, Any]:
    """The GPU, its driver and the versions in use.  Needs a GPU."""
    import torch
    import triton

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "sglang": _version("sglang"),
        "flashinfer": _version("flashinfer-python"),
    }


def this_run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """When, of which commit (none outside of a checkout), and how it was called."""
    words = ("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _first_line(*words, "--exclude=*"),
        "argv": list(sys.argv[1:] if argv is None else argv),
    }


def missing(names: Iterable[str]) -> list[str]:
    """Modules that are not installed.  A folder that happens to have such a name is none."""
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        spec = find_spec(name)
    except ImportError:
        return False
    return spec is not None and spec.origin is not None


def _first_line(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
