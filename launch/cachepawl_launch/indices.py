"""Between SGLang's token arrays and the cache's words: keys in, token indices out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cachepawl.types import Key, Runs, namespace_of

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


def make_key(tokens: Any, extra_key: str | None, salt: str | None) -> Key:
    """The key of an `array('q')` of token ids."""
    return Key(tokens.tobytes(), namespace_of(extra_key, salt))


def key_of(req: Any) -> Key:
    """A request's prompt, with the answer so far."""
    return make_key(req.full_untruncated_fill_ids, req.extra_key, req.cache_salt)
