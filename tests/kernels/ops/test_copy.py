"""Copying by extents: against the reference, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from arenas import assert_same, column, fenced, twin, unchanged_by, vast
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.copy.launch import CopyTile, copy_extents
from cachepawl_kernels.copy.reference import copy_extents_reference
from cachepawl_kernels.errors import KernelArgumentError

SMALL = CopyTile(block_words=16, piece_bytes=256)
GIB = 2**30


def check(device: torch.device, lengths: list[int], order: list[int], tile: CopyTile) -> None:
    """Copies inside one arena: `order` says how destinations (even) and sources (odd) lie."""
    starts, at = [0] * len(order), 16
    for place in order:
        starts[place] = at
        at += lengths[place // 2] + 16 * (place % 3)
    ours = fenced(at + 16, device)
    reference = twin(ours)
    columns = (column(*starts[0::2]), column(*starts[1::2]), column(*lengths))
    copy_extents(ours.arena, columns[0], ours.arena, *columns[1:], tile=tile)
    copy_extents_reference(reference.arena, columns[0], reference.arena, *columns[1:])
    assert_same(ours, reference)


@given(data=st.data())
def test_any_extents_inside_an_arena(device: torch.device, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 40).map(lambda n: n * 16), max_size=6))
    order = data.draw(st.permutations(range(2 * len(lengths))))
    block = data.draw(st.sampled_from([16, 32, 128]))
    check(device, lengths, list(order), CopyTile(block, data.draw(st.sampled_from([256, 512]))))


def test_large_and_small_extents_share_a_launch(device: torch.device, guard: object) -> None:
    check(device, [300_016, 16, 48, 65_536, 24_576], [3, 0, 9, 1, 2, 8, 4, 7, 5, 6], CopyTile())
    assert guard is None or guard.launches == 1  # type: ignore[attr-defined]


def test_one_source_goes_to_several_places(device: torch.device) -> None:
    source, ours = fenced(256, device), fenced(1024, device, seed=1)
    copy_extents(
        ours.arena, column(512, 0, 256), source.arena, column(16, 16, 32), column(160, 160, 144),
        tile=SMALL,
    )  # fmt: skip
    assert torch.equal(ours.arena[512:672], source.arena[16:176])
    assert torch.equal(ours.arena[0:160], source.arena[16:176])
    assert torch.equal(ours.arena[256:400], source.arena[32:176])


def test_an_arena_of_any_number_of_bytes(device: torch.device) -> None:
    source, ours = fenced(1003, device), fenced(517, device, seed=1)
    copy_extents(ours.arena, column(496), source.arena, column(976), column(16))
    assert torch.equal(ours.arena[496:512], source.arena[976:992])


def test_offsets_beyond_32_bits(device: torch.device) -> None:
    arena = vast(20 * GIB, device)
    source, target = 20 * GIB - 4096, 18 * GIB + 4096
    arena[source:] = torch.arange(4096, device=device).to(torch.uint8)
    copy_extents(arena, column(target), arena, column(source), column(4096))
    assert torch.equal(arena[target : target + 4096], arena[source:])


def test_nothing_to_copy_launches_nothing(device: torch.device, guard: object) -> None:
    arena = fenced(64, device).arena
    copy_extents(arena, column(), arena, column(), column())
    assert guard is None or guard.launches == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("to", "came", "lengths", "message"),
    [
        ([0], [512], [0], r"dst extent 0 of 0 bytes at offset 0: a length must be at least 1"),
        ([0], [512], [-16], r"a length must be at least 1"),
        ([8], [512], [16], r"offset 8: both must be multiples of 16"),
        ([0], [504], [16], r"src extent 0 of 16 bytes at offset 504: both must be multiples"),
        ([0], [512], [24], r"of 24 bytes at offset 0: both must be multiples of 16"),
        ([-16], [512], [16], r"offset -16 is outside of the arena's 1024 bytes"),
        ([0, 1024], [512, 0], [16, 16], r"dst extent 1 .* at offset 1024 is outside"),
        ([0], [1008], [32], r"src extent 0 of 32 bytes at offset 1008 is outside"),
        ([2**63 - 16], [512], [32], r"dst extent 0 .* is outside of the arena's 1024 bytes"),
        ([0, 16], [512, 512], [32, 32], r"extents 0 and 1 are written over each other"),
        ([0], [16], [32], r"source extent 0 overlaps destination extent 0"),
        ([0, 256], [512, 16], [32, 32], r"source extent 1 overlaps destination extent 0"),
        ([0], [16, 32], [16], r"2 src offsets for 1 lengths"),
    ],
)  # fmt: skip
def test_refusals(
    device: torch.device, to: list[int], came: list[int], lengths: list[int], message: str
) -> None:
    ours = fenced(1024, device)
    with pytest.raises(KernelArgumentError, match=message):
        unchanged_by(
            ours,
            lambda: copy_extents(
                ours.arena, column(*to), ours.arena, column(*came), column(*lengths)
            ),
        )


def test_refused_tensors(device: torch.device) -> None:
    good = fenced(1024, device).arena
    one = column(16)

    def refused(message: str, dst: torch.Tensor, src: torch.Tensor = good) -> None:
        with pytest.raises(KernelArgumentError, match=message):
            copy_extents(dst, column(0), src, column(512), one)

    refused("dst has dtype torch.int8; an arena is torch.uint8", good.view(torch.int8))
    refused(r"src has shape \(512,\) and strides \(2,\)", good, good[::2])
    refused(r"dst has shape \(2, 512\)", good.view(2, 512))
    refused("8 bytes past a multiple of 16", good[8:])
    refused("dst is on meta and src on", torch.empty(64, dtype=torch.uint8, device="meta"))
    with pytest.raises(KernelArgumentError, match=r"lengths has dtype torch.int32"):
        copy_extents(good, column(0), good, column(512), one.int())
    with pytest.raises(KernelArgumentError, match=r"src offsets is on meta"):
        copy_extents(good, column(0), good, column(512).to("meta"), one)
