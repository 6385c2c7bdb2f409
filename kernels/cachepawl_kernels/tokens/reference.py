"""What `write_token_ids` does, in plain torch."""

from __future__ import annotations

import torch

from cachepawl_kernels.tokens.batch import RowRuns


def token_ids_reference(batch: RowRuns, page_tokens: int) -> torch.Tensor:
    """The ids that `write_token_ids` writes: `(tokens,)` int64 on the host."""
    runs = list(zip(batch.pages.tolist(), batch.counts.tolist(), strict=True))
    bounds = batch.row_ends.tolist()
    parts = []
    for row, (first, last) in enumerate(zip([0, *bounds], bounds, strict=False)):
        pages = [page for start, count in runs[first:last] for page in range(start, start + count)]
        ids = [page * page_tokens + token for page in pages for token in range(page_tokens)]
        parts += ids[int(batch.starts[row]) : int(batch.stops[row])]
    return torch.tensor(parts, dtype=torch.int64)
