"""Forking states: every pair of formats against torch's own casts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from arenas import assert_same, column, fenced, twin, unchanged_by, vast
from hypothesis import given
from hypothesis import strategies as st
from states import arena_of, layout_of, numbers, write_part
from torch.utils._python_dispatch import TorchDispatchMode

from cachepawl_kernels.errors import KernelArgumentError
from cachepawl_kernels.fork.launch import ForkTile, fork_states, fork_states_at
from cachepawl_kernels.fork.layout import SCALE_BLOCK, Format, Part, StateLayout
from cachepawl_kernels.fork.reference import fork_states_at_reference, fork_states_reference

SMALL = ForkTile(blocks=2, piece_blocks=4)
FORMATS = st.sampled_from(Format)


def prepared(
    layout: StateLayout, slots: int, device: torch.device, *, finite: bool, seed: int = 0
) -> torch.Tensor:
    """An arena in `layout` that holds numbers: written as float32, converted by the reference."""
    wide = layout_of((Format.FP32,) * len(layout.parts), tuple(p.elements for p in layout.parts))
    source = fenced(slots * wide.stride, device, seed)
    for slot in range(slots):
        for index, part in enumerate(wide.parts):
            x = numbers(part.elements, seed + 100 * slot + index, finite=finite)
            write_part(source, wide, slot, index, x)
    fence = arena_of(layout, slots, device, seed)
    every = torch.arange(slots)
    fork_states_reference(fence.arena, layout, every, source.arena, wide, every)
    return fence.arena


@pytest.mark.parametrize("came", Format, ids=lambda form: form.name)
@pytest.mark.parametrize("to", Format, ids=lambda form: form.name)
def test_every_pair(device: torch.device, came: Format, to: Format) -> None:
    elements = (5 * SCALE_BLOCK + 48, 16)
    old, new = layout_of((came, Format.BF16), elements), layout_of((to, Format.BF16), elements)
    source = prepared(old, 3, device, finite=False)
    ours = arena_of(new, 4, device, seed=5)
    reference = twin(ours)
    columns = column(3, 0), column(1, 2)
    fork_states(ours.arena, new, columns[0], source, old, columns[1], tile=SMALL)
    fork_states_reference(reference.arena, new, columns[0], source, old, columns[1])
    assert_same(ours, reference)


@given(data=st.data())
def test_any_states(device: torch.device, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, 3))
    elements = tuple(16 * data.draw(st.integers(1, 30)) for _ in range(parts))
    old, new = (
        layout_of(tuple(data.draw(FORMATS) for _ in range(parts)), elements, 16 * pad)
        for pad in (1, 3)
    )
    source = prepared(old, 3, device, finite=data.draw(st.booleans()))
    ours = arena_of(new, 4, device, seed=5)
    reference = twin(ours)
    n = data.draw(st.integers(0, 3))
    columns = (
        column(*data.draw(st.permutations(range(4)))[:n]),
        column(*data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))),
    )
    fork_states(ours.arena, new, columns[0], source, old, columns[1], tile=SMALL)
    fork_states_reference(reference.arena, new, columns[0], source, old, columns[1])
    assert_same(ours, reference)


class Divisors(TorchDispatchMode):
    """Keeps what every division divides by."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "div" in func.name():
            self.seen.append(args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("form", [Format.E4M3, Format.INT8])
def test_the_reference_divides_as_the_kernel_does(form: Format) -> None:
    """By tensors of the arena's device: by the host's numbers torch does not divide on a GPU."""
    wide, narrow = layout_of((Format.FP32,), (256,)), layout_of((form,), (256,))
    source, target = (
        torch.empty(layout.stride, dtype=torch.uint8, device="meta") for layout in (wide, narrow)
    )
    with Divisors() as divisors:
        fork_states_reference(target, narrow, column(0), source, wide, column(0))
    assert len(divisors.seen) == 2
    for divisor in divisors.seen:
        assert isinstance(divisor, torch.Tensor), divisor
        assert divisor.device.type == "meta"


def test_inside_one_arena(device: torch.device, guard: object) -> None:
    layout = layout_of((Format.BF16, Format.FP32), (64, 512))
    ours = fenced(6 * layout.stride, device)
    reference = twin(ours)
    columns = column(5, 0, 2), column(3, 3, 1)
    fork_states(ours.arena, layout, columns[0], ours.arena, layout, columns[1])
    fork_states_reference(reference.arena, layout, columns[0], reference.arena, layout, columns[1])
    assert_same(ours, reference)
    assert guard is None or guard.launches == 1  # type: ignore[attr-defined]


def test_there_and_back_keeps_what_a_format_holds(device: torch.device) -> None:
    """float32 that came from a format goes back to the very same codes."""
    for form in (Format.BF16, Format.FP16):
        narrow, wide = layout_of((form,), (512,)), layout_of((Format.FP32,), (512,))
        source = prepared(narrow, 1, device, finite=True)
        middle, back = fenced(wide.stride, device), fenced(narrow.stride, device)
        fork_states(middle.arena, wide, column(0), source, narrow, column(0))
        fork_states(back.arena, narrow, column(0), middle.arena, wide, column(0))
        assert torch.equal(back.arena[:1024], source[:1024])


@pytest.mark.parametrize(("form", "bound"), [(Format.INT8, 0.5 / 127), (Format.E4M3, 0.5 / 8)])
def test_scaled_formats_are_as_near_as_they_can_be(
    device: torch.device, form: Format, bound: float
) -> None:
    """INT8 is off by half a code of its block's largest; E4M3 by half a bit of the number's."""
    wide, narrow = layout_of((Format.FP32,), (1024,)), layout_of((form,), (1024,))
    source, there = fenced(wide.stride, device), arena_of(narrow, 1, device)
    x = torch.randn(1024, generator=torch.Generator().manual_seed(3))
    write_part(source, wide, 0, 0, x)
    fork_states(there.arena, narrow, column(0), source.arena, wide, column(0))
    back = fenced(wide.stride, device)
    fork_states(back.arena, wide, column(0), there.arena, narrow, column(0))
    got = back.arena[:4096].view(torch.float32).cpu()
    blocks, error = x.view(-1, SCALE_BLOCK), (got - x).abs().view(-1, SCALE_BLOCK)
    peak = blocks.abs().amax(1, keepdim=True)
    if form == Format.INT8:
        allowed = peak * bound
    else:
        allowed = (blocks.abs() * bound).maximum(peak / 448 * 2.0**-10)
    assert (error <= allowed * 1.000001).all()
    assert (error > allowed / 2).any()


def test_what_is_no_number_stays_visible(device: torch.device) -> None:
    wide = layout_of((Format.FP32,), (256,))
    source, back = fenced(wide.stride, device), fenced(wide.stride, device)
    x = torch.ones(256)
    x[5] = float("inf")
    write_part(source, wide, 0, 0, x)
    for form in (Format.E4M3, Format.INT8):
        narrow = layout_of((form,), (256,))
        there = arena_of(narrow, 1, device)
        fork_states(there.arena, narrow, column(0), source.arena, wide, column(0))
        fork_states(back.arena, wide, column(0), there.arena, narrow, column(0))
        got = back.arena[:1024].view(torch.float32)
        assert got[:SCALE_BLOCK].isnan().all()
        assert torch.allclose(got[SCALE_BLOCK:], torch.ones(128, device=device))


def test_finite_numbers_stay_finite(device: torch.device) -> None:
    wide = layout_of((Format.FP32,), (16,))
    source = fenced(wide.stride, device)
    write_part(source, wide, 0, 0, torch.tensor([3.4e38, -3.4e38] * 8))
    for form, dtype in ((Format.BF16, torch.bfloat16), (Format.FP16, torch.float16)):
        narrow = layout_of((form,), (16,))
        there = fenced(narrow.stride, device)
        fork_states(there.arena, narrow, column(0), source.arena, wide, column(0))
        largest = torch.finfo(dtype).max
        assert there.arena[:32].view(dtype).tolist() == [largest, -largest] * 8
    for form in (Format.E4M3, Format.INT8):
        narrow = layout_of((form,), (16,))
        there, back = arena_of(narrow, 1, device), fenced(wide.stride, device)
        fork_states(there.arena, narrow, column(0), source.arena, wide, column(0))
        fork_states(back.arena, wide, column(0), there.arena, narrow, column(0))
        assert back.arena[:64].view(torch.float32).isfinite().all()


def test_a_state_beyond_32_bits(device: torch.device) -> None:
    parts = (Part(2**30, 64, Format.FP32), Part(2**31 - 16, 16, Format.INT8, 0))
    arena = vast(20 * 2**30, device)
    narrow = layout_of((Format.BF16, Format.INT8), (64, 16))
    target = fenced(narrow.stride, device)
    slot = arena[9 * 2**31 :]
    slot[2**30 : 2**30 + 256] = torch.arange(64.0, device=device).view(torch.uint8)
    slot[2**31 - 16 : 2**31] = 3
    fork_states(target.arena, narrow, column(0), arena, StateLayout(2**31, parts), column(9))
    assert target.arena[:128].view(torch.bfloat16).tolist() == list(range(64))
    assert target.arena[128:144].tolist() == [3] * 16


GOOD = layout_of((Format.FP32, Format.INT8), (64, 256), pad=0)
FIRST, SECOND = GOOD.parts


@pytest.mark.parametrize(
    ("layout", "slots", "message"),
    [
        (GOOD, [4], r"dst_slots\[0\] is 4; ids are in \[0, 4\)"),
        (GOOD, [-1], r"dst_slots\[0\] is -1"),
        (GOOD, [2, 2], "extents 0 and 1 are written over each other"),
        (GOOD, [0, 1], "source extent 1 overlaps destination extent 1"),
        (GOOD, [0, 2, 3], "dst_slots 3, src_slots 2"),
        (GOOD._replace(parts=()), [0], "dst_layout has no parts"),
        (GOOD._replace(stride=0), [0], "dst_layout.stride is 0"),
        (GOOD._replace(stride=512), [0], "parts end at byte 528"),
        (GOOD._replace(parts=(FIRST, SECOND._replace(offset=248))), [0], r"\.offset is 248"),
        (GOOD._replace(parts=(FIRST, SECOND._replace(offset=240))), [0], "parts 0 and 1 overlap"),
        (GOOD._replace(parts=(FIRST, SECOND._replace(scales=496))), [0], "parts 1 and 1 overlap"),
        (GOOD._replace(parts=(FIRST, SECOND._replace(scales=None))), [0], "INT8 and has no scales"),
        (GOOD._replace(parts=(FIRST._replace(scales=544), SECOND)), [0], "FP32 and takes no"),
        (GOOD._replace(parts=(FIRST._replace(elements=0), SECOND)), [0], r"elements is 0"),
        (GOOD._replace(parts=(FIRST._replace(elements=40), SECOND)), [0], "a multiple of 16"),
        (GOOD._replace(parts=(FIRST._replace(format=9), SECOND)), [0], r"parts\[0\].format is 9"),
        (GOOD._replace(parts=(FIRST._replace(elements=32), SECOND)), [0], r"\(32, 256\) elements"),
    ],
)  # fmt: skip
def test_refusals(
    device: torch.device, layout: StateLayout, slots: list[int], message: str
) -> None:
    ours = fenced(4 * 528, device)
    sources = column(3, 1) if len(slots) > 1 else column(3)
    with pytest.raises(KernelArgumentError, match=message):
        unchanged_by(
            ours,
            lambda: fork_states(ours.arena, layout, column(*slots), ours.arena, GOOD, sources),
        )


@given(data=st.data())
def test_states_that_lie_anywhere(device: torch.device, data: st.DataObject) -> None:
    """Several compressed states a frame: expanded to slots, compressed, and moved."""
    elements = (16 * data.draw(st.integers(1, 9)), 16 * data.draw(st.integers(1, 30)))
    code = data.draw(st.sampled_from([Format.INT8, Format.E4M3]))
    whole = layout_of((Format.BF16, Format.FP32), elements)
    coded = layout_of((Format.BF16, code), elements)
    frame = max(2 * coded.stride, whole.stride) + 16 * data.draw(st.integers(0, 3))
    old, new = data.draw(st.permutations([whole, coded, coded]))[:2]

    def starts(layout: StateLayout, frames: list[int]) -> torch.Tensor:
        places = [data.draw(st.integers(0, frame // layout.stride - 1)) for _ in frames]
        return column(*(f * frame + p * layout.stride for f, p in zip(frames, places, strict=True)))

    ours = fenced(6 * frame, device, seed=3)
    reference = twin(ours)
    order = data.draw(st.permutations(range(6)))
    to, came = starts(new, order[:3]), starts(old, order[3:])
    fork_states_at(ours.arena, new, to, ours.arena, old, came, tile=SMALL)
    fork_states_at_reference(reference.arena, new, to, reference.arena, old, came)
    assert_same(ours, reference)


@pytest.mark.parametrize(
    ("to", "came", "message"),
    [
        ((8,), (512,), r"dst_starts: extent 0 .* at offset 8: both must be multiples of 16"),
        ((0,), (4096,), r"src_starts: extent 0 .* is outside of the arena's 2048 bytes"),
        ((-16,), (512,), "is outside of the arena"),
        ((0, 16), (512, 1024), "are written over each other"),
        ((0,), (16,), "overlaps destination extent 0"),
        ((0, 512), (1024,), "columns of different lengths"),
    ],
)
def test_starts_that_are_refused(
    device: torch.device, to: tuple[int, ...], came: tuple[int, ...], message: str
) -> None:
    layout = layout_of((Format.FP32,), (64,))
    fence = fenced(2048, device)
    columns = column(*to), column(*came)
    with pytest.raises(KernelArgumentError, match=message):
        unchanged_by(
            fence,
            lambda: fork_states_at(
                fence.arena, layout, columns[0], fence.arena, layout, columns[1]
            ),
        )
