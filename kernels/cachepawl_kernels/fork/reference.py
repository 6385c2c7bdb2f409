"""What `fork_states` does, in plain torch: torch's own casts, no arithmetic on bits."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from cachepawl_kernels.fork.layout import SCALE_BLOCK, Format, Part, StateLayout

LARGEST = {Format.E4M3: 448.0, Format.INT8: 127.0}
DTYPES = {Format.FP32: torch.float32, Format.BF16: torch.bfloat16, Format.FP16: torch.float16}
NAN_BITS = {Format.FP32: 0x7FC00000, Format.BF16: 0x7FC0, Format.FP16: 0x7E00}
BITS = {4: torch.int32, 2: torch.int16}
LEAST_SCALE = 2.0**-126
PEAK_MAX = 3.4e38


def fork_states_reference(
    dst: torch.Tensor,
    dst_layout: StateLayout,
    dst_slots: torch.Tensor,
    src: torch.Tensor,
    src_layout: StateLayout,
    src_slots: torch.Tensor,
) -> None:
    """Same arguments as `fork_states`, on any device, unchecked."""
    to, came = dst_slots * dst_layout.stride, src_slots * src_layout.stride
    fork_states_at_reference(dst, dst_layout, to, src, src_layout, came)


def fork_states_at_reference(
    dst: torch.Tensor,
    dst_layout: StateLayout,
    dst_starts: torch.Tensor,
    src: torch.Tensor,
    src_layout: StateLayout,
    src_starts: torch.Tensor,
) -> None:
    """Same arguments as `fork_states_at`, on any device, unchecked."""
    for to, came in zip(dst_starts.tolist(), src_starts.tolist(), strict=True):
        for new, old in zip(dst_layout.parts, src_layout.parts, strict=True):
            target, source = dst[to:], src[came:]
            if new.format == old.format:
                for (a, b), (c, d) in zip(new.ranges, old.ranges, strict=True):
                    target[a:b] = source[c:d]
            else:
                _encode(target, new, _decode(source, old))


def _decode(slot: torch.Tensor, part: Part) -> torch.Tensor:
    """`(elements,)` float32."""
    raw = slot[part.offset : part.offset + part.nbytes]
    if not part.format.scaled:
        return raw.view(DTYPES[part.format]).float()
    assert part.scales is not None
    codes = raw.view(torch.float8_e4m3fn if part.format == Format.E4M3 else torch.int8).float()
    scales = slot[part.scales : part.scales + part.scale_bytes].view(torch.float32)
    return codes * scales.repeat_interleave(SCALE_BLOCK)[: part.elements]


def _encode(slot: torch.Tensor, part: Part, x: torch.Tensor) -> None:
    room = slot[part.offset : part.offset + part.nbytes]
    if part.format.scaled:
        assert part.scales is not None
        codes, scales = _quantise(x, part.format)
        room.copy_(codes.view(torch.uint8))
        slot[part.scales : part.scales + len(scales) * 4].copy_(scales.view(torch.uint8))
        return
    dtype = DTYPES[part.format]
    largest = torch.finfo(dtype).max
    rounded = torch.where(x.isinf(), x, x.clamp(-largest, largest)).to(dtype)
    # A float32 just below infinity rounds up to bfloat16's infinity.
    rounded = torch.where(x.isfinite(), rounded.clamp(-largest, largest), rounded)
    bits = rounded.view(BITS[dtype.itemsize])
    room.copy_(torch.where(x.isnan(), NAN_BITS[part.format], bits).to(bits.dtype).view(torch.uint8))


def _quantise(x: torch.Tensor, form: Format) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes `(elements,)` and scales `(blocks,)`."""
    largest = LARGEST[form]
    blocks = pad(x, (0, -len(x) % SCALE_BLOCK)).view(-1, SCALE_BLOCK)
    # On a GPU torch divides by a number of the host by multiplying with its reciprocal, which
    # rounds otherwise than a division does; by a tensor of the device it divides.
    divisor = torch.full((), largest, device=x.device)
    scales = (blocks.abs().amax(1).clamp(max=PEAK_MAX) / divisor).clamp(min=LEAST_SCALE)
    scales = torch.where(blocks.isfinite().all(1), scales, torch.nan)
    values = (blocks / scales[:, None]).clamp(-largest, largest).flatten()[: len(x)]
    if form == Format.E4M3:
        codes = values.to(torch.float8_e4m3fn).view(torch.uint8)
        return torch.where(values.isnan(), 0x7F, codes).to(torch.uint8), scales
    return values.round().nan_to_num(nan=0.0).to(torch.int8), scales
