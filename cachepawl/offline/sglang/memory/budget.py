"""The bytes that one rank has left for KV and states: measured, or estimated before.

SGLang measures after the weights are loaded (`KVCacheConfigurator._profile_available_bytes`):

    rest = free now - free before the load * (1 - mem_fraction_static)

so what the weights and their temporaries take is charged, and the fraction leaves room for
activations and CUDA graphs.  What is free is known on the device alone; before, it is
estimated as `total * mem_fraction_static - weights`.  The estimate leaves out what the driver
takes before the load, and what SGLang keeps back for a vision tower
(`mm_runtime_reservation_gb`): the real figure is lower.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags

MIB = 1 << 20
GIB = 1 << 30


class DoesNotFit(InputError):  # noqa: N818 - named after the shortage
    """The memory holds not even one request; SGLang would stop at its start."""


class Budget(NamedTuple):
    """What one rank may use for KV and states.

    `rest` is in bytes; SGLang computes it in GiB as a float, so it need not be whole.
    """

    rest: float
    exact: bool
    """Measured, or set; otherwise an estimate."""
    source: str


def rest_budget(rest_bytes: float, source: str = "given") -> Budget:
    """Exactly this much is left after the load."""
    if rest_bytes <= 0:
        raise DoesNotFit(
            f"{rest_bytes:.0f} bytes are left for the cache after the weights are loaded; raise "
            f"--mem-fraction-static, or use more ranks or a larger GPU"
        )
    return Budget(rest_bytes, True, source)


def estimated_budget(flags: ServerFlags, gpu_bytes: int, weight_bytes: int) -> Budget:
    """As far as it can be told before the load.  `weight_bytes` are those of one rank.

    DoesNotFit when the weights leave nothing.
    """
    fraction = flags.mem_fraction_static
    derived = fraction is None
    if fraction is None:
        fraction = default_fraction(flags, gpu_bytes)
    rest = gpu_bytes * fraction - weight_bytes
    if rest <= 0:
        raise DoesNotFit(
            f"weights of {weight_bytes / GIB:.1f} GiB leave nothing of {gpu_bytes / GIB:.1f} GiB "
            f"at --mem-fraction-static {fraction:g}; use more ranks (--tp-size), a larger GPU, "
            f"or smaller weights"
        )
    why = "SGLang's default" if derived else "given"
    return Budget(rest, False, f"{fraction:g} of the memory ({why}), less the weights")


class _Tier(NamedTuple):
    below_gib: float
    chunk: int
    graph_requests: int
    graph_requests_tp4: int


_TIERS = (
    _Tier(20, 2048, 8, 8),
    _Tier(35, 4096, 48, 160),
    _Tier(60, 4096, 32, 160),
    _Tier(160, 8192, 256, 512),
    _Tier(float("inf"), 16384, 512, 512),
)
"""Defaults by GPU memory: prefill chunk, and requests in the largest decode graph."""
_LARGE_GIB = 60
_LARGE_RESERVE_MIB = 10 * 1024


def default_fraction(flags: ServerFlags, gpu_bytes: int) -> float:
    """--mem-fraction-static where it is not given, by SGLang's rule for decoders on CUDA.

    Decode graphs at the default sizes; prefill graphs are left out, so the true figure may be
    lower by a fraction of a percent.  Source: `handle_gpu_memory_settings` and
    `reserve_for_graph_mb` (`sglang/srt/arg_groups/memory_hook.py`).
    """
    gib = gpu_bytes / GIB
    tier = next(t for t in _TIERS if gib < t.below_gib)
    chunk = tier.chunk if flags.chunked_prefill_size is None else flags.chunked_prefill_size
    tokens = chunk if chunk > 0 else flags.max_prefill_tokens
    ranks = flags.tp_size * flags.pp_size
    reserved = 512 + 1.5 * max(tokens, 2048) + ranks / 8 * 1024
    if not flags.disable_cuda_graph:
        reserved += 2 * _graph_requests(flags, tier)
    if gib > _LARGE_GIB:
        reserved = max(reserved, _LARGE_RESERVE_MIB)
    total = gpu_bytes / MIB
    return round((total - reserved) / total, 3)


def _graph_requests(flags: ServerFlags, tier: _Tier) -> int:
    if flags.cuda_graph_max_bs_decode is not None:
        return flags.cuda_graph_max_bs_decode
    most = tier.graph_requests if flags.tp_size < 4 else tier.graph_requests_tp4
    return most if flags.max_running_requests is None else min(most, flags.max_running_requests)
