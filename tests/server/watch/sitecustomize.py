"""Python loads this at the start of every process of a server that a test watches.

Writes to the file CACHEPAWL_READS, once each, which functions of ours ask a tensor for its values
and how.  The CPU platform's kernels stand for a GPU's and are not ours in that sense.

Writes to the folder CACHEPAWL_COLLECTOR, in a file named by the process, the garbage collector's
thresholds and whether anything is frozen, whenever they have changed.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

READS = (
    "item", "tolist", "cpu", "numpy", "nonzero", "unique", "equal", "masked_select",
    "__bool__", "__int__", "__index__", "__float__", "__array__",
)  # fmt: skip


def ours(module: str) -> bool:
    return module.startswith("cachepawl") and not module.startswith("cachepawl_launch.cpu")


def watch(owner: Any, name: str, path: str, seen: set[str]) -> None:
    inner: Callable[..., Any] = getattr(owner, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)
        module = caller.f_globals.get("__name__", "")
        if ours(module):
            line = f"{module}.{caller.f_code.co_name} {name}"
            if line not in seen:
                seen.add(line)
                with open(path, "a") as out:
                    out.write(line + "\n")
        return inner(*args, **kwargs)

    setattr(owner, name, watched)


def watch_collector(folder: str) -> None:
    seen, frozen, looks = "", False, 0
    while True:
        # Counting what is frozen takes as long as there is of it: then every five seconds.
        if not frozen or looks % 25 == 0:
            frozen = gc.get_freeze_count() > 0
        now = f"{gc.get_threshold()} {frozen}"
        looks += 1
        if now != seen:
            with open(f"{folder}/{os.getpid()}", "a") as out:
                out.write(now + "\n")
            seen = now
        time.sleep(0.2)


if os.environ.get("CACHEPAWL_COLLECTOR"):
    looking = os.environ["CACHEPAWL_COLLECTOR"]
    threading.Thread(target=watch_collector, args=(looking,), daemon=True).start()

if os.environ.get("CACHEPAWL_READS"):
    import torch

    found: set[str] = set()
    for method in READS:
        watch(torch.Tensor, method, os.environ["CACHEPAWL_READS"], found)
    for function in ("equal", "nonzero", "unique", "masked_select"):
        watch(torch, function, os.environ["CACHEPAWL_READS"], found)
