"""Slots by ids on the device: against the reference, and what can be refused unseen."""

from __future__ import annotations

import pytest
import torch
from arenas import assert_same, column, fenced, twin, unchanged_by, vast
from hypothesis import given
from hypothesis import strategies as st

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.slots.launch import SlotsTile, copy_slots, zero_slots
from cachepawl_kernels.slots.reference import copy_slots_reference, zero_slots_reference
from cachepawl_kernels.transfer.layout import UnitLayout

SMALL = SlotsTile(words=16)
GIB = 2**30
LAYOUTS = st.builds(
    lambda row, pad: UnitLayout(16 * (row + pad), 16 * row), st.integers(1, 40), st.integers(0, 3)
)


@given(layout=LAYOUTS, count=st.integers(1, 9), data=st.data())
def test_any_slots(
    device: torch.device, layout: UnitLayout, count: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(-1, count + 1)))  # two of them are no slots
    pairs = data.draw(st.integers(0, len(order) // 2))
    to, came = (column(*ids).to(device) for ids in (order[:pairs], order[pairs : 2 * pairs]))
    ours = fenced(count * layout.stride, device)
    reference = twin(ours)
    copy_slots(ours.arena, layout, to, came, tile=SMALL)
    copy_slots_reference(reference.arena, layout, to, came)
    assert_same(ours, reference)
    zero_slots(ours.arena, layout, came, tile=SMALL)
    zero_slots_reference(reference.arena, layout, came)
    assert_same(ours, reference)


def test_the_tile_that_is_used(device: torch.device, guard: object) -> None:
    layout = UnitLayout(100_000, 99_984)
    ours = fenced(3 * layout.stride, device)
    reference = twin(ours)
    copy_slots(ours.arena, layout, column(2).to(device), column(0).to(device))
    copy_slots_reference(reference.arena, layout, column(2).to(device), column(0).to(device))
    zero_slots(ours.arena, layout, column(1, 0).to(device))
    zero_slots_reference(reference.arena, layout, column(1, 0).to(device))
    assert_same(ours, reference)
    assert guard is None or guard.launches == 2  # type: ignore[attr-defined]


def test_one_source_goes_to_several_slots(device: torch.device) -> None:
    layout = UnitLayout(64, 48)
    ours = fenced(4 * 64, device)
    copy_slots(ours.arena, layout, column(0, 3).to(device), column(2, 2).to(device))
    slots = ours.arena.view(4, 64)
    assert torch.equal(slots[0, :48], slots[2, :48])
    assert torch.equal(slots[3, :48], slots[2, :48])


def test_slots_beyond_32_bits(device: torch.device) -> None:
    arena = vast(20 * GIB, device)
    layout = UnitLayout(GIB, 4096)
    arena[19 * GIB : 19 * GIB + 4096] = torch.arange(4096, device=device).to(torch.uint8)
    copy_slots(arena, layout, column(18).to(device), column(19).to(device))
    assert torch.equal(arena[18 * GIB :][:4096], arena[19 * GIB :][:4096])
    zero_slots(arena, layout, column(19).to(device))
    assert not arena[19 * GIB :][:4096].any()


def test_no_slots_launch_nothing(device: torch.device, guard: object) -> None:
    arena, none = fenced(64, device).arena, column().to(device)
    copy_slots(arena, UnitLayout(16, 16), none, none)
    zero_slots(arena, UnitLayout(16, 16), none)
    assert guard is None or guard.launches == 0  # type: ignore[attr-defined]


def test_refusals(device: torch.device) -> None:
    ours = fenced(1024, device)
    slot, one = UnitLayout(64, 48), column(1).to(device)
    for layout, ids, message in (
        (UnitLayout(64, 40), one, "layout.row_bytes is 40; it must be a multiple of 16"),
        (UnitLayout(64, 80), one, "rows end at byte 80, its stride is 64"),
        (UnitLayout(64, 16, 2, 16), one, "a slot is one row from byte 0"),
        (UnitLayout(64, 16, base=16), one, "a slot is one row from byte 0"),
        (slot, one.int(), "ids has dtype torch.int32"),
        (slot, column(1, 2, 3).to(device)[::2], r"strides \(2,\)"),
        (slot, column(1).to("meta"), "and ids on meta"),
    ):
        with pytest.raises(KernelArgumentError, match=message):
            unchanged_by(ours, lambda: zero_slots(ours.arena, layout, ids))  # noqa: B023
    with pytest.raises(KernelArgumentError, match="dst_ids 1, src_ids 2"):
        copy_slots(ours.arena, slot, one, column(2, 3).to(device))
    with pytest.raises(KernelArgumentError, match="8 bytes past a multiple of 16"):
        zero_slots(ours.arena[8:], slot, one)
