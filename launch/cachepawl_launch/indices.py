"""Page runs as the token indices that SGLang's tensors hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cachepawl.types import Runs

TokenIds = npt.NDArray[np.int64]


def token_ids(runs: Runs, page_tokens: int) -> TokenIds:
    """All token ids of the pages, in order: one `arange` a run."""
    parts = [
        np.arange(first * page_tokens, (first + count) * page_tokens, dtype=np.int64)
        for first, count in runs.runs
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
