"""`python tests/kernels/on_gpu.py`: the kernels' tests, compiled, on a GPU.

The same tests that run interpreted without one.  Exit code 2 where there is no GPU.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(words: list[str]) -> int:
    """Run pytest in this process; `words` go to it."""
    import torch

    if not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} sees none; nothing was tested", file=sys.stderr)
        return 2
    os.environ["CACHEPAWL_KERNEL_TESTS"] = "gpu"
    os.environ["TRITON_INTERPRET"] = "0"
    import pytest

    folders = [HERE / "ops", HERE / "arena"]
    if importlib.util.find_spec("sglang") is None:
        print("sglang is not installed: its kernels are not run over the arena's views")
    else:
        folders.append(HERE / "sglang")
    print(f"on {torch.cuda.get_device_name()}")
    return pytest.main([*map(str, folders), *words])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
