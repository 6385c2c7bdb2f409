"""When something is written back to the host: one rule a file, and their names."""

from __future__ import annotations

from collections.abc import Callable

from cachepawl.offload.writing.base import WritePolicy
from cachepawl.offload.writing.write_back import WriteBack
from cachepawl.offload.writing.write_through import WriteThrough
from cachepawl.offload.writing.write_through_selective import WriteThroughSelective

WRITE_POLICIES: dict[str, Callable[[], WritePolicy]] = {
    "write_through": WriteThrough,
    "write_through_selective": WriteThroughSelective,
    "write_back": WriteBack,
}
"""By name, a maker."""
