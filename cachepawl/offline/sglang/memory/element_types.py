"""Element types of KV and states as a server will store them.

Sources, under `sglang/srt`: `configure_kv_cache_dtype` (`mem_cache/kv_cache_dtype.py`),
`_get_and_verify_dtype` (`configs/model_config.py`), `mamba2_state_dtype`
(`configs/mamba_utils.py`); `--mamba-ssm-dtype` sets SGLANG_MAMBA_SSM_DTYPE.
"""

from __future__ import annotations

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.specs.dtypes import BF16, FP16, FP32, Dtypes, ElementType, element_type
from cachepawl.specs.model import ModelSpec

_STATE_TYPES = ("float32", "bfloat16", "float16")
_WITH_WORKSPACE = ("mxfp8", "fp4_mx_block16", "nvfp4")
"""Stored with scales and workspaces that differ by device."""


def settled_dtypes(spec: ModelSpec, flags: ServerFlags) -> Dtypes:
    """The types of KV, convolution and recurrence; InputError for one not planned here."""
    return Dtypes(
        kv=_kv(spec, flags),
        conv=_state_type(flags, "SGLANG_MAMBA_CONV_DTYPE") or BF16,
        temporal=_temporal(spec, flags),
    )


def _kv(spec: ModelSpec, flags: ServerFlags) -> ElementType:
    name = flags.kv_cache_dtype
    if name in _WITH_WORKSPACE:
        raise InputError(
            f"--kv-cache-dtype {name} is not planned; use auto, bf16, fp8_e4m3 or fp8_e5m2"
        )
    if name != "auto":
        return element_type(name)
    if flags.dtype != "auto":
        return element_type(flags.dtype)
    # A checkpoint in fp32 is served in fp16.
    return FP16 if spec.dtypes.kv == FP32 else spec.dtypes.kv


def _temporal(spec: ModelSpec, flags: ServerFlags) -> ElementType:
    if flags.mamba_ssm_dtype is not None:
        return element_type(flags.mamba_ssm_dtype)
    return _state_type(flags, "SGLANG_MAMBA_SSM_DTYPE") or spec.dtypes.temporal


def _state_type(flags: ServerFlags, variable: str) -> ElementType | None:
    """SGLang ignores a name that it does not know."""
    name = flags.environment_value(variable)
    return element_type(name) if name in _STATE_TYPES else None
