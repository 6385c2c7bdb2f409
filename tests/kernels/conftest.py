"""What a process of these tests may collect.

One process cannot both interpret and compile kernels: `test_processes.py` starts one for each,
with CACHEPAWL_KERNEL_TESTS set, and is all that is collected without it.
"""

from __future__ import annotations

import os

if "CACHEPAWL_KERNEL_TESTS" not in os.environ:
    collect_ignore = ["ops", "arena", "compiled", "sglang"]
