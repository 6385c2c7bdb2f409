"""Numbers to bits and back, the same in the compiler and in the interpreter.

Rounding is to nearest, ties to even, and done here on the bits where a native cast would not do
it everywhere: the interpreter truncates float32 -> bfloat16 and loses the carry of float8, and
sm_80 has no float8 at all.

    finite beyond the range   the largest finite number (BF16, FP16); a scaled block has no range
    infinity                  stays (BF16, FP16); makes its block's scale NaN (E4M3, INT8)
    NaN                       the format's one quiet NaN; makes its block's scale NaN (E4M3, INT8)
    a scaled block            scale = max |x| (at most 3.4e38) / largest code, at least 2^-126
"""

from __future__ import annotations

import triton
import triton.language as tl

E4M3_MAX: tl.constexpr = tl.constexpr(448.0)
INT8_MAX: tl.constexpr = tl.constexpr(127.0)
FP16_MAX: tl.constexpr = tl.constexpr(65504.0)
LEAST_SCALE: tl.constexpr = tl.constexpr(2.0**-126)
FP32_MAX: tl.constexpr = tl.constexpr(3.4028234663852886e38)
# A largest code times its scale must not round up to infinity.
PEAK_MAX: tl.constexpr = tl.constexpr(3.4e38)
# Adding 1.5 * 2^23 leaves an integer below 2^22, rounded to even, in the sum's low bits.
INTEGER_MAGIC: tl.constexpr = tl.constexpr(12582912.0)
# 2^14 has 2^-9 as its last bit: adding it rounds to the step of e4m3's subnormal numbers.
SUBNORMAL_MAGIC: tl.constexpr = tl.constexpr(16384.0)
SUBNORMAL_MAGIC_BITS: tl.constexpr = tl.constexpr(0x46800000)


@triton.jit
def to_bf16_bits(x):
    """float32 -> bfloat16, as int16."""
    bits = x.to(tl.int32, bitcast=True)
    # A NaN's magnitude would wrap below.
    magnitude = tl.minimum(bits & 0x7FFFFFFF, 0x7F800000)
    rounded = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) >> 16
    rounded = tl.where(magnitude < 0x7F800000, tl.minimum(rounded, 0x7F7F), 0x7F80)
    signed = ((bits >> 16) & 0x8000) | rounded
    return tl.where(x != x, 0x7FC0, signed).to(tl.int16)


@triton.jit
def from_bf16_bits(stored):
    """bfloat16, as int16 -> float32, exact."""
    return (stored.to(tl.int32) << 16).to(tl.float32, bitcast=True)


@triton.jit
def to_fp16_bits(x):
    """float32 -> float16, as int16.  The native cast rounds right everywhere."""
    infinite = tl.abs(x) > FP32_MAX
    bounded = tl.minimum(tl.maximum(x, -FP16_MAX), FP16_MAX)
    half = tl.where(infinite, x, bounded).to(tl.float16).to(tl.int16, bitcast=True)
    return tl.where(x != x, 0x7E00, half.to(tl.int32)).to(tl.int16)


@triton.jit
def from_fp16_bits(stored):
    """float16, as int16 -> float32, exact."""
    return stored.to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def to_e4m3_bits(x):
    """float32 -> float8 e4m3 (no infinity), as int8.  `x` is a code's value: at most 448."""
    bits = x.to(tl.int32, bitcast=True)
    capped = tl.minimum(tl.abs(x), E4M3_MAX)
    magnitude = capped.to(tl.int32, bitcast=True)
    # Exponent bias 127 -> 7, mantissa 23 -> 3 bits; a carry runs on into the exponent.
    normal = (magnitude - 0x3C000000 + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20
    subnormal = (capped + SUBNORMAL_MAGIC).to(tl.int32, bitcast=True) - SUBNORMAL_MAGIC_BITS
    code = tl.where(magnitude < 0x3C800000, subnormal, normal)
    signed = ((bits >> 24) & 0x80) | code
    return tl.where(x != x, 0x7F, signed).to(tl.int8)


@triton.jit
def from_e4m3_bits(stored):
    """float8 e4m3, as int8 -> float32, exact."""
    code = stored.to(tl.int32)
    low = code & 0x7F
    normal = ((low << 20) + 0x3C000000).to(tl.float32, bitcast=True)
    subnormal = low.to(tl.float32) * 0.001953125
    value = tl.where(low < 8, subnormal, normal)
    value = tl.where(low == 0x7F, float("nan"), value)
    return tl.where((code & 0x80) != 0, -value, value)


@triton.jit
def to_int8_bits(x):
    """float32 -> int8.  `x` is a code's value: at most 127; NaN becomes 0."""
    bounded = tl.minimum(tl.maximum(x, -INT8_MAX), INT8_MAX)
    code = (bounded + INTEGER_MAGIC).to(tl.int32, bitcast=True) & 0xFF
    return tl.where(x != x, 0, code).to(tl.int8)


@triton.jit
def scale_of(x, largest):
    """`(blocks, elements)` -> `(blocks,)`: NaN where a block holds infinity or NaN."""
    magnitude = tl.abs(x)
    broken = tl.max((~(magnitude <= FP32_MAX)).to(tl.int32), 1) > 0
    peak = tl.max(tl.where(magnitude <= FP32_MAX, magnitude, 0.0), 1)
    scale = tl.maximum(tl.div_rn(tl.minimum(peak, PEAK_MAX), largest), LEAST_SCALE)
    return tl.where(broken, float("nan"), scale)
