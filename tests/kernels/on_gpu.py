"""`python tests/kernels/on_gpu.py`: the kernels' tests, compiled, on a GPU; then the real server.

The same tests that run interpreted without one; the server where sglang is installed
(`tests/server/on_gpu.py`).  Exit code 2 where there is no GPU.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SERVER = HERE.parent / "server" / "on_gpu.py"


def main(words: list[str]) -> int:
    """Run pytest in this process; `words` go to it."""
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees none; nothing was tested", file=sys.stderr)
        return 2
    os.environ["CACHEPAWL_KERNEL_TESTS"] = "gpu"
    os.environ["TRITON_INTERPRET"] = "0"
    import pytest

    folders = [HERE / "ops"]
    sglang = importlib.util.find_spec("sglang") is not None
    if sglang:
        folders += [HERE / "arena", HERE / "sglang"]
    else:
        print("sglang is not installed: its kernels and its server are not run over the arena")
    print(f"on {torch.cuda.get_device_name()}")
    failed = int(pytest.main([*map(str, folders), *words]))
    # A process of its own, for the memory that this one holds on the GPU.
    served = subprocess.run([sys.executable, str(SERVER)], check=False).returncode if sglang else 0
    return failed or served


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
