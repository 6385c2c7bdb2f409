"""The roundings of a fork on every code and every tie, against torch's casts."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from cachepawl_kernels.fork.rounding import (
    from_bf16_bits,
    from_e4m3_bits,
    from_fp16_bits,
    to_bf16_bits,
    to_e4m3_bits,
    to_fp16_bits,
    to_int8_bits,
)

BLOCK = 4096


@triton.jit
def encode(x, out, n, FORMAT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    number = tl.load(x + at, mask=at < n, other=0.0)
    if FORMAT == 1:
        tl.store(out + at, to_bf16_bits(number), mask=at < n)
    elif FORMAT == 2:
        tl.store(out + at, to_fp16_bits(number), mask=at < n)
    elif FORMAT == 3:
        tl.store(out + at, to_e4m3_bits(number), mask=at < n)
    else:
        tl.store(out + at, to_int8_bits(number), mask=at < n)


@triton.jit
def decode(codes, out, n, FORMAT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    code = tl.load(codes + at, mask=at < n, other=0)
    if FORMAT == 1:
        tl.store(out + at, from_bf16_bits(code), mask=at < n)
    elif FORMAT == 2:
        tl.store(out + at, from_fp16_bits(code), mask=at < n)
    else:
        tl.store(out + at, from_e4m3_bits(code), mask=at < n)


def encoded(x: torch.Tensor, form: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    out = torch.full((len(x),), 0x55, dtype=dtype, device=device)
    grid = (triton.cdiv(len(x), BLOCK),)
    encode[grid](x.contiguous().to(device), out, len(x), FORMAT=form, BLOCK=BLOCK)
    return out.cpu()


def decoded(codes: torch.Tensor, form: int, device: torch.device) -> torch.Tensor:
    out = torch.full((len(codes),), 7.0, device=device)
    grid = (triton.cdiv(len(codes), BLOCK),)
    decode[grid](codes.to(device), out, len(codes), FORMAT=form, BLOCK=BLOCK)
    return out.cpu()


def around(values: torch.Tensor) -> torch.Tensor:
    """Finite values, the middles between neighbours, and float32's neighbours of both."""
    values = values[values.isfinite()].double().unique()
    middles = ((values[1:] + values[:-1]) / 2).float()
    points = torch.cat((values.float(), middles))
    up, down = torch.tensor(torch.inf), torch.tensor(-torch.inf)
    return torch.cat((points, points.nextafter(up), points.nextafter(down)))


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Bit by bit; NaN equals NaN."""
    bits = ours.view(torch.int32) == theirs.view(torch.int32)
    return bool((bits | (ours.isnan() & theirs.isnan())).all())


ALL_16 = torch.arange(-(2**15), 2**15).to(torch.int16)
ALL_8 = torch.arange(-128, 128).to(torch.int8)


def test_every_bf16_and_every_tie(device: torch.device) -> None:
    values = ALL_16.view(torch.bfloat16).float()
    assert same(decoded(ALL_16, 1, device), values)
    x = around(values[::3])
    largest = torch.finfo(torch.bfloat16).max
    expected = x.to(torch.bfloat16).clamp(-largest, largest)
    assert torch.equal(encoded(x, 1, torch.int16, device), expected.view(torch.int16))


def test_every_fp16_and_every_tie(device: torch.device) -> None:
    values = ALL_16.view(torch.float16).float()
    assert same(decoded(ALL_16, 2, device), values)
    x = around(values[::3])
    expected = x.clamp(-65504, 65504).to(torch.float16)
    assert torch.equal(encoded(x, 2, torch.int16, device), expected.view(torch.int16))


def test_every_e4m3_and_every_tie(device: torch.device) -> None:
    values = ALL_8.view(torch.float8_e4m3fn).float()
    assert same(decoded(ALL_8, 3, device), values)
    x = around(values)
    expected = x.clamp(-448, 448).to(torch.float8_e4m3fn)
    assert torch.equal(encoded(x, 3, torch.int8, device), expected.view(torch.int8))


def test_every_int8_and_every_tie(device: torch.device) -> None:
    x = around(torch.arange(-127.0, 128.0))
    expected = x.round().clamp(-127, 127).to(torch.int8)
    assert torch.equal(encoded(x, 4, torch.int8, device), expected)


def test_what_is_no_number(device: torch.device) -> None:
    nan = torch.tensor([0x7FC00000, 0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32)
    x = torch.cat((nan.view(torch.float32), torch.tensor([torch.inf, -torch.inf])))
    assert encoded(x, 1, torch.int16, device).tolist() == [0x7FC0] * 4 + [0x7F80, -0x80]
    assert encoded(x, 2, torch.int16, device).tolist() == [0x7E00] * 4 + [0x7C00, -0x400]
    assert encoded(x[:4], 3, torch.int8, device).tolist() == [0x7F] * 4
    assert encoded(x[:4], 4, torch.int8, device).tolist() == [0] * 4
