"""`benchmarks` is a folder of scripts beside the packages: make it importable from a wheel too."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
