"""A copier is tried before it serves: one that fails or is wrong is left out, and it is said."""

from __future__ import annotations

import logging

import pytest
import torch
from tiers import CPU, SHAPES, SMALL_PAGES

from cachepawl.offload.arena_transfers import Side
from cachepawl.offload.copier import TokenRows, TorchCopier
from cachepawl.offload.extents import Extents, Piece
from cachepawl.offload.host_arena import HostArena
from cachepawl.offload.trial import tried
from cachepawl.pool.geometry import Geometry


class NoCompiler(TorchCopier):
    def rows(self, *_: object) -> None:
        raise OSError("gcc is not there\nand more lines")


class ForgetsRows(TorchCopier):
    def rows(self, *_: object) -> None:
        pass


class ForgetsExtents(TorchCopier):
    def extents(self, *_: object) -> None:
        pass


class WritesTooMuch(TorchCopier):
    def rows(
        self, dst: torch.Tensor, src: torch.Tensor, pieces: list[Piece], rows: TokenRows
    ) -> None:
        super().rows(dst, src, pieces, rows)
        super().extents(dst, src, Extents([0], [0], [rows.entry_bytes]))


def host(shapes: Geometry) -> Side:
    arena = HostArena(shapes, 3 * shapes.frame_bytes, pinned=False)
    return Side(arena.raw, arena.geometry)


@pytest.mark.parametrize("shapes", [SHAPES, SMALL_PAGES])
def test_what_copies_is_taken(shapes: Geometry, caplog: pytest.LogCaptureFixture) -> None:
    there, copier = host(shapes), TorchCopier()
    assert tried(copier, CPU, there) is copier
    assert caplog.records == []
    assert not there.raw.any(), "the arena is as it was"


@pytest.mark.parametrize(
    ("copier", "why"),
    [
        (NoCompiler(), "OSError: gcc is not there"),
        (ForgetsRows(), "RuntimeError: a trial copy came out wrong"),
        (ForgetsExtents(), "RuntimeError: a trial copy came out wrong"),
        (WritesTooMuch(), "RuntimeError: a trial copy came out wrong"),
    ],
)
def test_what_does_not_is_left_out(
    copier: TorchCopier, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    there = host(SHAPES)
    assert tried(copier, CPU, there) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(f"copy engines do all, slower: {why}")
    assert not there.raw.any()
