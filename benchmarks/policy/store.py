"""Results on disk, one file a cell, named by everything that they depend on.

A run that was stopped goes on where it stood; a changed file of the code that a contender runs
makes its cells new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.policy.contenders import Family, Played
from benchmarks.policy.inputs import CHUNK, MODELS, PAGE, Task

ROOT = Path(__file__).resolve().parents[2]
INPUTS = (
    "benchmarks/policy/contenders.py",
    "benchmarks/policy/inputs.py",
    "cachepawl/errors.py",
    "cachepawl/offline/files.py",
    "cachepawl/offline/recorded/first_look.py",
    "cachepawl/offline/replay/ways.py",
    "cachepawl/offline/strict_json.py",
    "cachepawl/offline/traces",
    "cachepawl/record/verbs.py",
    "cachepawl/snapshots.py",
    "cachepawl/specs",
    "cachepawl/types.py",
    "cachepawl/pool/from_spec.py",
    "cachepawl/pool/geometry.py",
)
SOURCES: dict[Family, tuple[str, ...]] = {
    "sglang": (
        *INPUTS,
        "benchmarks/policy/pools.py",
        "benchmarks/policy/sglang_server.py",
        "benchmarks/sglang_tree.py",
    ),
    "ours": (
        *INPUTS,
        "cachepawl/cache.py",
        "cachepawl/evacuation.py",
        "cachepawl/observe/counters.py",
        "cachepawl/observe/series.py",
        "cachepawl/offline/bounds",
        "cachepawl/offline/replay",
        "cachepawl/offload",
        "cachepawl/policy",
        "cachepawl/pool",
        "cachepawl/stores.py",
        "cachepawl/tree",
    ),
    "bound": (
        *INPUTS,
        "cachepawl/offline/bounds",
        "cachepawl/offline/replay/lines.py",
        "cachepawl/offline/replay/scenario.py",
    ),
}
"""What a family's figures depend on: files and folders from the root of the repository."""


@lru_cache
def code_version(family: Family) -> str:
    """A hash of a family's sources, and of SGLang's version where SGLang plays."""
    found = hashlib.sha256(version("sglang").encode() if family == "sglang" else b"")
    for source in SOURCES[family]:
        path = ROOT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


@lru_cache
def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def key_of(task: Task, family: Family) -> str:
    """What a cell's figures depend on; endless memory is the same for all budgets."""
    cell, requests = task.cell, task.requests
    memory = [cell.device_gb, cell.host_gb] if cell.contender != "ceiling" else []
    inputs = [_content(requests.path), requests.half, requests.limit, MODELS[cell.model],
              PAGE, CHUNK, *memory, cell.contender]  # fmt: skip
    text = json.dumps([code_version(family), *inputs])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Played | None:
        """What was found before; None if nothing was, or the file is no result."""
        try:
            return Played(**json.loads((self.folder / f"{key}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, played: Played) -> None:
        """Whole or not at all, whoever else writes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{key}.part"
        part.write_text(json.dumps(played._asdict()))
        part.replace(self.folder / f"{key}.json")

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Keys without a result."""
        return [key for key in keys if self.get(key) is None]
