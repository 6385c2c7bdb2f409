"""Carries out an evacuation: bytes, device rows, and the host's mirror of token ids.

Everything is issued on the current (schedule) stream, after all that was launched on the
forward stream, and SGLang makes every forward wait for the schedule stream.  So the copy
comes after the last forward that reads or writes the old places and before the first that
could write them anew; the host may hand them out as soon as this returns.

A forward that has got its token ids and is not launched yet would write to the old places.
Admission, which alone evacuates, comes before a batch gets its ids; this is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from cachepawl.errors import InvariantError
from cachepawl.evacuation import Evacuated
from cachepawl.pool.arena import Arena
from cachepawl.pool.moves import RowPiece
from cachepawl.pool.uploads import to_device
from cachepawl_launch.indices import TokenIds
from cachepawl_launch.token_allocator import ArenaTokenAllocator


class PageMover:
    """Moves pages of one arena, and all token ids that SGLang's side holds of them."""

    def __init__(
        self,
        arena: Arena,
        allocator: ArenaTokenAllocator,
        req_to_token: torch.Tensor,
        catch_up: Callable[[], None],
    ) -> None:
        """`req_to_token`: `(rows, positions)` int32, SGLang's device rows.

        `catch_up` makes copies that wait for the next forward, and clears the frames that turned
        from state to KV, before pages are copied into them: later, the copies would go too.
        """
        self._arena = arena
        self._allocator = allocator
        self._req_to_token = req_to_token
        self._catch_up = catch_up
        self._forward_stream: Any = None

    def forward_started(self) -> None:
        """Called on the stream of every forward, first thing."""
        self._allocator.awaits_forward = False
        if self._arena.raw.is_cuda:
            self._forward_stream = torch.cuda.current_stream()

    def streams(self) -> list[Any]:
        """Streams, beside the current one, on which forwards are launched."""
        return [] if self._forward_stream is None else [self._forward_stream]

    def __call__(self, done: Evacuated) -> None:
        if self._allocator.awaits_forward:
            raise InvariantError("pages were moved while a batch with token ids is not launched")
        if self._forward_stream is not None:
            torch.cuda.current_stream().wait_stream(self._forward_stream)
        self._catch_up()
        self._arena.move_pages(done.moves.every)
        self._write_rows(done.rows)
        self._allocator.move_tails(done.moves)

    def _write_rows(self, pieces: Sequence[RowPiece]) -> None:
        """All changed positions of all rows with one scatter."""
        if not pieces:
            return
        page = self._arena.geometry.page_tokens
        width = self._req_to_token.shape[1]
        at, ids = row_writes(pieces, page, width)
        index = to_device(np.stack([at, ids]), self._req_to_token.device)
        self._req_to_token.view(-1)[index[0]] = index[1].to(self._req_to_token.dtype)


def row_writes(pieces: Sequence[RowPiece], page: int, width: int) -> tuple[TokenIds, TokenIds]:
    """Flat positions in rows of `width` token ids, and what is written there.

    A row's last page may reach beyond the width; nothing is ever computed there.
    """
    at, ids = [], []
    for piece in pieces:
        start = piece.position * page
        count = min(piece.pages * page, width - start)
        at.append(np.arange(start, start + count, dtype=np.int64) + piece.row * width)
        ids.append(np.arange(count, dtype=np.int64) + piece.first * page)
    return np.concatenate(at), np.concatenate(ids)
