"""Element types and their bytes, scales included.

A scaled type stores elements in blocks that share one scale; a block begun is a block
stored whole.  Scales per tensor (FP8 and NVFP4 checkpoints have them) do not grow with
the cache and are not counted.

    NVFP4  16 elements of 4 bits + one e4m3 scale  =  9 bytes a block
    MXFP4  32 elements of 4 bits + one e8m0 scale  = 17 bytes a block

Sources: OCP Microscaling Formats v1.0 (MXFP4); NVIDIA's NVFP4 description (CUTLASS,
Blackwell block-scaled types).
"""

from __future__ import annotations

from dataclasses import dataclass

from cachepawl.errors import ConfigError


@dataclass(frozen=True)
class ElementType:
    """`bits` per element; `block` elements share `scale_bytes` of scale, 0 for none."""

    name: str
    bits: int
    block: int = 0
    scale_bytes: int = 0

    def bytes_of(self, elements: int) -> int:
        """Bytes of one row of `elements`: whole bytes, and whole blocks where scaled."""
        assert elements >= 0, elements
        if not self.block:
            return -(-elements * self.bits // 8)
        return -(-elements // self.block) * (self.block * self.bits // 8 + self.scale_bytes)

    @property
    def itemsize(self) -> int:
        """Bytes of one element; ConfigError for a packed or scaled type, which has none."""
        if self.bits % 8 or self.block:
            raise ConfigError(
                f"element type {self.name} packs {self.bits} bits in blocks of {self.block} "
                f"with scales, so one element has no whole bytes; use one of: "
                f"{', '.join(t.name for t in TYPES if not t.block)}"
            )
        return self.bits // 8


FP32 = ElementType("fp32", 32)
FP16 = ElementType("fp16", 16)
BF16 = ElementType("bf16", 16)
INT8 = ElementType("int8", 8)
FP8_E4M3 = ElementType("fp8_e4m3", 8)
FP8_E5M2 = ElementType("fp8_e5m2", 8)
NVFP4 = ElementType("nvfp4", 4, block=16, scale_bytes=1)
MXFP4 = ElementType("mxfp4", 4, block=32, scale_bytes=1)

TYPES = (FP32, FP16, BF16, INT8, FP8_E4M3, FP8_E5M2, NVFP4, MXFP4)

# What torch, Hugging Face and SGLang call them.
_ALIASES = {
    "float32": FP32,
    "float": FP32,
    "float16": FP16,
    "half": FP16,
    "bfloat16": BF16,
    "float8_e4m3fn": FP8_E4M3,
    "float8_e5m2": FP8_E5M2,
    "fp4_e2m1": NVFP4,  # SGLang's --kv-cache-dtype: blocks of 16 with a one-byte scale
}
_NAMES = {t.name: t for t in TYPES} | _ALIASES


def element_type(name: str) -> ElementType:
    """The type called `name`, with or without a leading "torch."; ConfigError if unknown."""
    found = _NAMES.get(name.removeprefix("torch."))
    if found is None:
        raise ConfigError(f"unknown element type {name!r}; one of: {', '.join(sorted(_NAMES))}")
    return found


@dataclass(frozen=True)
class Dtypes:
    """The element types of a cache, one per part.

    The defaults are SGLang's: KV and convolution in bf16, the recurrence in fp32.
    """

    kv: ElementType = BF16
    conv: ElementType = BF16
    temporal: ElementType = FP32
