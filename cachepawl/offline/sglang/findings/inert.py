"""H9: flags that SGLang accepts and that then do nothing, or something else.

Places are files below `sglang/srt` of SGLang 0.5.23.
"""

from __future__ import annotations

from dataclasses import replace

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change
from cachepawl.offline.sglang.findings.rules import Rule, given
from cachepawl.offline.sglang.memory.settle import tracks_states

_HOST = (
    "hicache_ratio",
    "hicache_size",
    "hicache_host_memory_fraction",
    "hicache_write_policy",
    "hicache_io_backend",
    "hicache_mem_layout",
    "hicache_storage_backend",
    "hicache_storage_prefetch_policy",
    "hicache_host_memory_mode",
)
_STATES = (
    "max_mamba_cache_size",
    "mamba_full_memory_ratio",
    "mamba_track_interval",
    "mamba_max_states_per_path",
    "mamba_ssm_dtype",
    "enable_int8_mamba_checkpoint",
)
_TREE = ("mamba_track_interval", "mamba_max_states_per_path", "enable_int8_mamba_checkpoint",
         "radix_eviction_policy", "enable_session_radix_cache")  # fmt: skip


def _no_host_tier(case: Case) -> bool:
    flags = case.flags
    used = flags.enable_hierarchical_cache or flags.disaggregation_mode == "decode"
    return not used and given(case, *_HOST)


def _two_dtypes(case: Case) -> bool:
    environment = case.flags.environment_value("SGLANG_MAMBA_SSM_DTYPE")
    flag = case.flags.mamba_ssm_dtype
    return environment is not None and flag is not None and environment != flag


def _overlap_lost(case: Case) -> bool:
    flags = case.flags
    if not case.has_states or flags.disable_radix_cache or flags.disable_overlap_schedule:
        return False
    if flags.mamba_radix_cache_strategy != "auto" or flags.linear_attn_backend == "triton":
        return False
    return case.spec is not None and tracks_states(
        case.spec, replace(flags, linear_attn_backend="triton")
    )


INERT = (
    Rule(
        "ratio beside explicit slots",
        ("mamba_full_memory_ratio", "max_mamba_cache_size"),
        lambda c: given(c, "mamba_full_memory_ratio") and c.flags.max_mamba_cache_size is not None,
        "with --max-mamba-cache-size the slots are taken as given; the ratio is not read",
        Change("--mamba-full-memory-ratio", ""),
        "mem_cache/kv_cache_configurator.py",
        "--mamba-full-memory-ratio 0.5 --max-mamba-cache-size 64",
    ),
    Rule(
        "ratio without a prefix cache",
        ("mamba_full_memory_ratio", "disable_radix_cache", "max_running_requests"),
        lambda c: (
            given(c, "mamba_full_memory_ratio")
            and c.flags.disable_radix_cache
            and c.flags.max_running_requests is not None
            and c.flags.max_mamba_cache_size is None
        ),
        "without a prefix cache the slots are --max-running-requests; the ratio is not read",
        Change("--mamba-full-memory-ratio", ""),
        "mem_cache/kv_cache_configurator.py",
        "--mamba-full-memory-ratio 0.5 --disable-radix-cache --max-running-requests 8",
    ),
    Rule(
        "int8 states with unified memory",
        ("enable_int8_mamba_checkpoint", "enable_unified_memory"),
        lambda c: c.flags.enable_int8_mamba_checkpoint and c.flags.enable_unified_memory,
        "the shared buffer's request pool has no int8 checkpoint pool, and nothing says so",
        Change("--enable-int8-mamba-checkpoint", ""),
        "mem_cache/unified_memory_pool.py",
        "--enable-int8-mamba-checkpoint --enable-unified-memory",
    ),
    Rule(
        "a size for int8 states that are off",
        ("int8_mamba_ckpt_size",),
        lambda c: given(c, "int8_mamba_ckpt_size") and not c.flags.enable_int8_mamba_checkpoint,
        "the int8 checkpoint pool is built only with --enable-int8-mamba-checkpoint",
        Change("--int8-mamba-ckpt-size", ""),
        "mem_cache/mamba_checkpoint_pool.py",
        "--int8-mamba-ckpt-size 128",
    ),
    Rule(
        "host ratio beside a host size",
        ("hicache_ratio", "hicache_size"),
        lambda c: given(c, "hicache_ratio") and c.flags.hicache_size > 0,
        "--hicache-size overrides --hicache-ratio",
        Change("--hicache-ratio", ""),
        "mem_cache/pool_host/base.py",
        "--enable-hierarchical-cache --hicache-ratio 3 --hicache-size 20",
    ),
    Rule(
        "host fraction beside a host ratio or size",
        ("hicache_host_memory_fraction", "hicache_ratio", "hicache_size"),
        lambda c: (
            given(c, "hicache_host_memory_fraction")
            and c.flags.hicache_host_memory_fraction is not None
            and (given(c, "hicache_ratio") or c.flags.hicache_size > 0)
        ),
        "an explicit ratio or size turns automatic sizing off, and the fraction with it",
        Change("--hicache-host-memory-fraction", ""),
        "arg_groups/hicache_hook.py",
        "--enable-hierarchical-cache --hicache-host-memory-fraction 0.5 --hicache-size 20",
    ),
    Rule(
        "host tier flags without a host tier",
        _HOST,
        _no_host_tier,
        "without --enable-hierarchical-cache there is no host tier for them",
        Change("--enable-hierarchical-cache", "on"),
        "arg_groups/hicache_hook.py",
        "--hicache-size 20",
    ),
    Rule(
        "layout of the host tier with direct copies",
        ("hicache_mem_layout", "hicache_io_backend"),
        lambda c: (
            c.flags.enable_hierarchical_cache
            and c.flags.hicache_mem_layout == "page_first"
            and c.flags.hicache_io_backend == "direct"
        ),
        "direct copies take page_first_direct; SGLang switches the layout",
        Change("--hicache-mem-layout", "page_first_direct"),
        "arg_groups/hicache_hook.py",
        "--enable-hierarchical-cache --hicache-io-backend direct --hicache-mem-layout page_first",
    ),
    Rule(
        "copies of the host tier with a direct layout",
        ("hicache_io_backend", "hicache_mem_layout"),
        lambda c: (
            c.flags.enable_hierarchical_cache
            and c.flags.hicache_mem_layout == "page_first_direct"
            and c.flags.hicache_io_backend == "kernel"
            and not c.flags.enable_unified_memory
        ),
        "the copy kernels do not read page_first_direct; SGLang switches to direct copies",
        Change("--hicache-io-backend", "direct"),
        "arg_groups/hicache_hook.py",
        "--enable-hierarchical-cache --hicache-mem-layout page_first_direct",
    ),
    Rule(
        "write back to a host buffer",
        ("hicache_write_policy", "hicache_host_memory_mode"),
        lambda c: (
            c.flags.enable_hierarchical_cache
            and c.flags.hicache_host_memory_mode == "buffer_only"
            and c.flags.hicache_write_policy == "write_back"
        ),
        "a buffer keeps nothing to write back; SGLang writes through",
        Change("--hicache-write-policy", "write_through"),
        "arg_groups/hicache_hook.py",
        "--enable-hierarchical-cache --hicache-host-memory-mode buffer_only "
        "--hicache-storage-backend file --hicache-write-policy write_back",
    ),
    Rule(
        "states in decode without the extra buffer",
        ("mamba_track_interval", "mamba_radix_cache_strategy"),
        lambda c: (
            given(c, "mamba_track_interval")
            and c.has_states
            and not c.flags.disable_radix_cache
            and c.strategy == "no_buffer"
        ),
        "without the extra buffer no state is taken while decoding, only at the end",
        Change("--mamba-track-interval", ""),
        "managers/schedule_batch.py",
        "--mamba-track-interval 128 --mamba-radix-cache-strategy no_buffer "
        "--disable-overlap-schedule",
    ),
    Rule(
        "flags of the cache without a cache",
        _TREE,
        lambda c: c.flags.disable_radix_cache and given(c, *_TREE),
        "with --disable-radix-cache nothing is cached",
        Change("--disable-radix-cache", ""),
        "mem_cache/registry.py",
        "--disable-radix-cache --mamba-track-interval 128",
    ),
    Rule(
        "an eviction policy for states",
        ("radix_eviction_policy",),
        lambda c: c.flags.radix_eviction_policy != "lru" and c.has_states and not c.cachepawl,
        "the policy orders KV only; states always go by plain LRU",
        Change("--radix-eviction-policy", ""),
        "mem_cache/unified_cache/components/mamba.py",
        "--radix-eviction-policy lfu",
    ),
    Rule(
        "overlap scheduling with this linear-attention backend",
        ("linear_attn_backend", "mamba_radix_cache_strategy", "disable_overlap_schedule"),
        _overlap_lost,
        'only the triton backend can take snapshots, so "auto" becomes no_buffer: overlap '
        "scheduling is turned off and states are taken at ends only",
        Change("--linear-attn-backend", "triton"),
        "arg_groups/overrides.py",
        "--linear-attn-backend flashinfer",
    ),
    Rule(
        "two element types for states",
        ("mamba_ssm_dtype",),
        _two_dtypes,
        "--mamba-ssm-dtype overwrites the variable SGLANG_MAMBA_SSM_DTYPE",
        Change("--mamba-ssm-dtype", ""),
        "arg_groups/serving_hook.py",
        "SGLANG_MAMBA_SSM_DTYPE=float32 python -m sglang.launch_server --mamba-ssm-dtype bfloat16",
    ),
    Rule(
        "flags of states for a model without states",
        _STATES,
        lambda c: given(c, *_STATES) and not c.has_states,
        "the model keeps no states",
        Change("--max-mamba-cache-size", ""),
        "mem_cache/kv_cache_configurator.py",
        "--max-mamba-cache-size 64",
    ),
    Rule(
        "a ratio of window KV for a model without windows",
        ("swa_full_tokens_ratio",),
        lambda c: given(c, "swa_full_tokens_ratio") and c.spec is not None and not c.spec.windows,
        "no layer attends over a window, so there is no window pool",
        Change("--swa-full-tokens-ratio", ""),
        "model_executor/pool_configurator.py",
        "--swa-full-tokens-ratio 0.5",
    ),
    Rule(
        "a ratio with one budget",
        ("mamba_full_memory_ratio",),
        lambda c: given(c, "mamba_full_memory_ratio") and c.cachepawl,
        "cachepawl keeps KV and states in one budget; the ratio is accepted and not used",
        Change("--mamba-full-memory-ratio", ""),
        "docs/operations.md",
        "python -m cachepawl.launch_server --mamba-full-memory-ratio 0.5",
    ),
)
