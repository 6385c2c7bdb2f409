"""Flags that cachepawl does not serve yet, each with its reason.  Nothing is ignored silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cachepawl.errors import ConfigError


class Refusal(NamedTuple):
    """A flag that is refused when `on` says it is in effect."""

    flag: str
    field: str
    reason: str
    on: Callable[[Any], bool] = bool


def _not(*allowed: Any) -> Callable[[Any], bool]:
    return lambda value: value not in allowed


_HOST = "cachepawl has a host tier of its own, see --cachepawl-host-gb"
_OWN_BYTES = (
    "it lays out memory in its own way; the arena already holds KV and states in one budget"
)
_BY_PLACE = "it keeps what it captures by token id, and tokens move when pages are evacuated"
_SPEC = "the draft model's KV and the rollback of states are not served yet"
_SPLIT = "requests whose KV moves between servers are not served yet"

REFUSALS = (
    Refusal("--disable-radix-cache", "disable_radix_cache", "cachepawl is a prefix cache"),
    Refusal("--enable-unified-memory", "enable_unified_memory", _OWN_BYTES),
    Refusal("--enable-page-major-kv-layout", "enable_page_major_kv_layout", _OWN_BYTES),
    Refusal("--enable-kv-cache-sharding", "enable_kv_cache_sharding", _OWN_BYTES),
    Refusal("--enable-hisparse", "enable_hisparse", _OWN_BYTES),
    Refusal("--enable-return-routed-experts", "enable_return_routed_experts", _BY_PLACE),
    Refusal("--enable-return-indexer-topk", "enable_return_indexer_topk", _BY_PLACE),
    Refusal(
        "--enable-memory-saver",
        "enable_memory_saver",
        "the arena cannot be released and resumed yet",
    ),
    Refusal(
        "--prefill-only-disable-kv-cache",
        "prefill_only_disable_kv_cache",
        "it leaves nothing to cache",
    ),
    Refusal(
        "--enable-int8-mamba-checkpoint",
        "enable_int8_mamba_checkpoint",
        "it keeps a pool of its own; compress with --cachepawl-checkpoint-dtype int8 instead",
    ),
    Refusal(
        "--enable-linear-replayssm",
        "enable_linear_replayssm",
        "it keeps rings for every slot outside the arena",
    ),
    Refusal(
        "--enable-linear-replayssm-spec",
        "enable_linear_replayssm_spec",
        "it keeps rings for every slot outside the arena",
    ),
    Refusal(
        "--mamba-radix-cache-strategy",
        "mamba_radix_cache_strategy",
        "its tracking slots come and go during decode, which is not served yet; use extra_buffer",
        lambda value: value == "extra_buffer_lazy",
    ),
    Refusal(
        "--mamba-max-states-per-path",
        "mamba_max_states_per_path",
        "cachepawl's policy decides which states stay",
        lambda value: value is not None and value >= 0,
    ),
    Refusal("--enable-hierarchical-cache", "enable_hierarchical_cache", _HOST),
    Refusal("--hicache-storage-backend", "hicache_storage_backend", _HOST),
    Refusal("--enable-lmcache", "enable_lmcache", _HOST),
    Refusal("--enable-flexkv", "enable_flexkv", _HOST),
    Refusal(
        "--enable-unified-cache-external-linker", "enable_unified_cache_external_linker", _HOST
    ),
    Refusal("--speculative-algorithm", "speculative_algorithm", _SPEC),
    Refusal("--disaggregation-mode", "disaggregation_mode", _SPLIT, _not(None, "null")),
    Refusal("--enable-pdmux", "enable_pdmux", _SPLIT),
    Refusal("--encoder-only", "encoder_only", "it runs no scheduler"),
    Refusal(
        "--radix-eviction-policy",
        "radix_eviction_policy",
        "cachepawl's own policy applies, see --cachepawl-policy",
        _not(None, "lru"),
    ),
    Refusal(
        "--enable-streaming-session",
        "enable_streaming_session",
        "SGLang serves it with its own tree only",
    ),
    Refusal(
        "--enable-session-radix-cache",
        "enable_session_radix_cache",
        "SGLang serves it with its own tree only",
    ),
    Refusal(
        "--pp-size",
        "pp_size",
        "arenas of pipeline stages are not sized together yet",
        _not(None, 1),
    ),
    Refusal(
        "--dcp-size",
        "dcp_size",
        "context-parallel decode widens pages, which is not served yet",
        _not(None, 1),
    ),
    Refusal("--enable-dp-attention", "enable_dp_attention", "it was never tried with cachepawl"),
    Refusal(
        "--dllm-algorithm", "dllm_algorithm", "diffusion models allocate KV in blocks of their own"
    ),
    Refusal("--use-ray", "use_ray", "Ray's scheduler actors do not load plugins"),
    Refusal("--smg-grpc-mode", "smg_grpc_mode", "only the HTTP server is served"),
    Refusal("--grpc-mode", "grpc_mode", "only the HTTP server is served"),
)

PLAIN_KV_DTYPES = ("auto", "bf16", "bfloat16", "fp16", "float16", "fp8_e4m3", "fp8_e5m2")


def refuse_flags(args: Any, backend: str) -> None:
    """ConfigError naming the first refused flag among SGLang's resolved arguments."""
    for refusal in REFUSALS:
        value = getattr(args, refusal.field, None)
        if refusal.on(value):
            shown = refusal.flag if value is True else f"{refusal.flag} {value}"
            raise ConfigError(
                f"{shown} is not supported: {refusal.reason}; drop the flag, or serve with "
                f"python -m sglang.launch_server"
            )
    if args.radix_cache_backend not in (None, backend):
        raise ConfigError(
            f"--radix-cache-backend {args.radix_cache_backend}: cachepawl brings its own; drop it"
        )
    if args.kv_cache_dtype not in PLAIN_KV_DTYPES:
        raise ConfigError(
            f"--kv-cache-dtype {args.kv_cache_dtype} is not supported: its scales live outside "
            f"the arena; use one of {', '.join(PLAIN_KV_DTYPES)}"
        )


def notices(args: Any, given: set[str]) -> list[str]:
    """Flags in `given` that mean something else here, or nothing; each said once."""
    out = []
    if "--mamba-full-memory-ratio" in given:
        out.append(
            f"--mamba-full-memory-ratio {args.mamba_full_memory_ratio} has no effect: KV and "
            f"states share one budget"
        )
    if "--max-total-tokens" in given:
        out.append(f"--max-total-tokens {args.max_total_tokens} caps KV; it reserves nothing")
    if "--max-mamba-cache-size" in given:
        out.append(
            f"--max-mamba-cache-size {args.max_mamba_cache_size} caps states; it reserves nothing"
        )
    return out
