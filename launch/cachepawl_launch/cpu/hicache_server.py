"""`python -m cachepawl_launch.cpu.hicache_server FLAGS`: stock SGLang with a host cache, on a CPU.

SGLang's `launch_server`, flag for flag, in whose processes the copies of its own host cache have
stand-ins (`host_copies`); cachepawl has no part in it.  For comparisons: nothing else starts it.
Each process that it spawns runs this file first.
``CACHEPAWL_BENCH_COPIED`` may name a file of `COPIED_BYTES`: it then has the bytes copied so far.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cachepawl_launch.cpu.host_copies import Copied

FILE = "CACHEPAWL_BENCH_COPIED"
COPIED_BYTES = 16


@contextmanager
def counted(path: Path) -> Iterator[Copied]:
    """What a server that runs inside copies; its `bytes` are those of the moment."""
    from cachepawl_launch.cpu.host_copies import Copied

    path.write_bytes(bytes(COPIED_BYTES))
    os.environ[FILE] = str(path)
    try:
        yield Copied(_seen(path))
    finally:
        del os.environ[FILE]


def _seen(path: Path) -> memoryview:
    """The counts in the file, shared with whoever else maps it."""
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), COPIED_BYTES)).cast("q")


def prepare() -> None:
    """Put the stand-ins in place in this process."""
    from cachepawl_launch.cpu import host_copies

    path = os.environ.get(FILE)
    host_copies.install(host_copies.Copied(_seen(Path(path)) if path else None))


def main() -> None:
    """What `sglang.launch_server` does."""
    from sglang.launch_server import run_server
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    load_plugins()
    arguments = prepare_server_args(sys.argv[1:])
    try:
        run_server(arguments)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ in ("__main__", "__mp_main__"):
    prepare()
if __name__ == "__main__":
    main()
