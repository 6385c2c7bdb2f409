"""H13: combinations with which SGLang does not start.

Places are files below `sglang/srt` of SGLang 0.5.23.
"""

from __future__ import annotations

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.rules import Rule
from cachepawl.offline.sglang.memory.settle import tracks_states

_UNIFIED_DRAFTS = (None, "DSPARK", "EAGLE", "EAGLE3", "DFLASH")
_MAMBA_HOOK = "arg_groups/mamba_hook.py"
_CACHE_HOOK = "arg_groups/kv_cache_hook.py"


def _explicit(case: Case, *strategies: str) -> bool:
    """Whether the cache is on, the model keeps states and the strategy is one of these."""
    on = not case.flags.disable_radix_cache and case.flags.mamba_radix_cache_strategy in strategies
    return on and case.has_states


def _tracked(case: Case) -> bool:
    return case.has_states and case.tracked


def _pages_without_buffer(case: Case) -> bool:
    """Asked for, or all that the model can have."""
    if (case.flags.page_size or 1) == 1 or case.flags.disable_radix_cache:
        return False
    return case.has_states and case.strategy == "no_buffer"


def _no_extra_buffer(case: Case) -> bool:
    if not _explicit(case, "extra_buffer", "extra_buffer_lazy"):
        return False
    if case.flags.linear_attn_backend != "triton":
        return True
    return case.spec is not None and not tracks_states(case.spec, case.flags)


def _undivided(case: Case) -> bool:
    if not _tracked(case):
        return False
    small, large = sorted((case.count("state_chunk"), case.page_size))
    return large % small != 0


def _int8_beside(case: Case) -> bool:
    flags = case.flags
    others = (flags.enable_hierarchical_cache, flags.radix_cache_backend, flags.enable_lmcache)
    return flags.enable_int8_mamba_checkpoint and any(others)


REFUSED = (
    Rule(
        "pages without the extra buffer",
        ("mamba_radix_cache_strategy", "page_size"),
        _pages_without_buffer,
        "without the extra buffer pages are one token",
        Change("--page-size", "1"),
        _MAMBA_HOOK,
        "--mamba-radix-cache-strategy no_buffer --page-size 16 --disable-overlap-schedule",
    ),
    Rule(
        "overlap scheduling without the extra buffer",
        ("mamba_radix_cache_strategy", "disable_overlap_schedule"),
        lambda c: _explicit(c, "no_buffer") and not c.flags.disable_overlap_schedule,
        "without the extra buffer steps cannot overlap",
        Change("--disable-overlap-schedule", "on"),
        _MAMBA_HOOK,
        "--mamba-radix-cache-strategy no_buffer --page-size 1",
    ),
    Rule(
        "the extra buffer where there is none",
        ("mamba_radix_cache_strategy", "linear_attn_backend"),
        _no_extra_buffer,
        "the extra buffer needs the triton linear-attention backend and a model that has it",
        Change("--mamba-radix-cache-strategy", "auto"),
        "arg_groups/overrides.py",
        "--mamba-radix-cache-strategy extra_buffer --linear-attn-backend flashinfer",
    ),
    Rule(
        "lazy slots without overlap scheduling",
        ("mamba_radix_cache_strategy", "disable_overlap_schedule"),
        lambda c: _explicit(c, "extra_buffer_lazy") and c.flags.disable_overlap_schedule,
        "lazy tracking slots need overlap scheduling",
        Change("--mamba-radix-cache-strategy", "extra_buffer"),
        "mem_cache/kv_cache_configurator.py",
        "--mamba-radix-cache-strategy extra_buffer_lazy --disable-overlap-schedule",
    ),
    Rule(
        "lazy slots on a divided server",
        ("mamba_radix_cache_strategy", "disaggregation_mode"),
        lambda c: _explicit(c, "extra_buffer_lazy") and c.flags.disaggregation_mode != "null",
        "lazy tracking slots are not served where prefill and decode are divided",
        Change("--mamba-radix-cache-strategy", "extra_buffer"),
        _MAMBA_HOOK,
        "--mamba-radix-cache-strategy extra_buffer_lazy --disaggregation-mode prefill",
    ),
    Rule(
        "an interval that is no whole number of pages",
        ("mamba_track_interval", "page_size"),
        lambda c: _tracked(c) and c.flags.mamba_track_interval % c.page_size != 0,
        "--mamba-track-interval must be a multiple of the page",
        Change("--mamba-track-interval", "256"),
        _MAMBA_HOOK,
        "--mamba-radix-cache-strategy extra_buffer --mamba-track-interval 100 --page-size 16",
    ),
    Rule(
        "an interval shorter than the draft",
        ("mamba_track_interval", "speculative_num_draft_tokens"),
        lambda c: (
            _tracked(c)
            and c.flags.mamba_track_interval < (c.flags.speculative_num_draft_tokens or 0)
        ),
        "--mamba-track-interval must be at least --speculative-num-draft-tokens",
        Change("--mamba-track-interval", "256"),
        _MAMBA_HOOK,
        "--mamba-radix-cache-strategy extra_buffer --mamba-track-interval 16 "
        "--speculative-num-draft-tokens 32",
    ),
    Rule(
        "a page that does not divide the state chunk",
        ("page_size",),
        _undivided,
        "of the page and the chunk of the model's state kernels one must divide the other",
        Change("--page-size", "64"),
        "arg_groups/overrides.py",
        "--mamba-radix-cache-strategy extra_buffer --page-size 48 --mamba-track-interval 48",
    ),
    Rule(
        "a limit of states per path",
        ("mamba_max_states_per_path",),
        lambda c: c.flags.mamba_max_states_per_path == 0 or c.flags.mamba_max_states_per_path < -1,
        "--mamba-max-states-per-path is -1 or at least 1",
        Change("--mamba-max-states-per-path", "-1"),
        _MAMBA_HOOK,
        "--mamba-max-states-per-path 0",
    ),
    Rule(
        "int8 states with another cache",
        (
            "enable_int8_mamba_checkpoint",
            "enable_hierarchical_cache",
            "radix_cache_backend",
            "enable_lmcache",
        ),
        _int8_beside,
        "int8 states are known to SGLang's own tree on the device only",
        Change("--enable-int8-mamba-checkpoint", ""),
        _MAMBA_HOOK,
        "--enable-int8-mamba-checkpoint --enable-hierarchical-cache",
    ),
    Rule(
        "a host tier without a cache",
        ("enable_hierarchical_cache", "disable_radix_cache"),
        lambda c: c.flags.enable_hierarchical_cache and c.flags.disable_radix_cache,
        "a host tier needs the prefix cache",
        Change("--disable-radix-cache", ""),
        _CACHE_HOOK,
        "--enable-hierarchical-cache --disable-radix-cache",
    ),
    Rule(
        "two host tiers",
        ("enable_lmcache", "enable_hierarchical_cache"),
        lambda c: c.flags.enable_lmcache and c.flags.enable_hierarchical_cache,
        "LMCache and the hierarchical cache exclude each other",
        Change("--enable-lmcache", ""),
        _CACHE_HOOK,
        "--enable-lmcache --enable-hierarchical-cache",
    ),
    Rule(
        "layer-first host memory for states",
        ("hicache_mem_layout", "enable_hierarchical_cache"),
        lambda c: (
            c.flags.enable_hierarchical_cache
            and c.flags.hicache_mem_layout == "layer_first"
            and c.has_states
        ),
        "the host pool of states knows page_first and page_first_direct",
        Change("--hicache-mem-layout", "page_first"),
        "mem_cache/pool_host/mamba.py",
        "--enable-hierarchical-cache --hicache-mem-layout layer_first",
    ),
    Rule(
        "a host buffer without a storage",
        ("hicache_host_memory_mode", "hicache_storage_backend"),
        lambda c: (
            c.flags.enable_hierarchical_cache
            and c.flags.hicache_host_memory_mode == "buffer_only"
            and c.flags.hicache_storage_backend is None
        ),
        "a host buffer is only a step on the way to a storage backend",
        Change("--hicache-host-memory-mode", "cache"),
        "arg_groups/hicache_hook.py",
        "--enable-hierarchical-cache --hicache-host-memory-mode buffer_only",
    ),
    Rule(
        "a fraction of host memory",
        ("hicache_host_memory_fraction",),
        lambda c: (
            c.flags.hicache_host_memory_fraction is not None
            and not 0 < c.flags.hicache_host_memory_fraction <= 1
        ),
        "--hicache-host-memory-fraction is above 0 and at most 1",
        Change("--hicache-host-memory-fraction", "0.8"),
        "arg_groups/hicache_hook.py",
        "--hicache-host-memory-fraction 1.5",
    ),
    Rule(
        "page-major KV without unified memory",
        ("enable_page_major_kv_layout", "enable_unified_memory"),
        lambda c: c.flags.enable_page_major_kv_layout and not c.flags.enable_unified_memory,
        "the page-major layout is served with unified memory only",
        Change("--enable-page-major-kv-layout", ""),
        _CACHE_HOOK,
        "--enable-page-major-kv-layout",
    ),
    Rule(
        "unified memory with these state kernels",
        ("enable_unified_memory", "mamba_backend"),
        lambda c: c.flags.enable_unified_memory and c.flags.mamba_backend != "triton",
        "only the triton kernels read states in strides",
        Change("--mamba-backend", "triton"),
        _CACHE_HOOK,
        "--enable-unified-memory --mamba-backend flashinfer",
    ),
    Rule(
        "unified memory with this draft",
        ("enable_unified_memory", "speculative_algorithm"),
        lambda c: (
            c.flags.enable_unified_memory and c.flags.speculative_algorithm not in _UNIFIED_DRAFTS
        ),
        "unified memory serves DSPARK, DFLASH, EAGLE and EAGLE3",
        Change("--enable-unified-memory", ""),
        _CACHE_HOOK,
        "--enable-unified-memory --speculative-algorithm NGRAM",
    ),
    Rule(
        "a ratio of window KV",
        ("swa_full_tokens_ratio",),
        lambda c: (
            c.flags.swa_full_tokens_ratio is not None and not 0 < c.flags.swa_full_tokens_ratio <= 1
        ),
        "--swa-full-tokens-ratio is above 0 and at most 1",
        Change("--swa-full-tokens-ratio", "0.8"),
        _CACHE_HOOK,
        "--swa-full-tokens-ratio 1.5",
    ),
)


def does_not_fit(case: Case) -> Finding | None:
    """H13: ranks that cannot share the model, or memory that does not hold one request."""
    if case.refused is None:
        return None
    return Finding(
        "H13",
        "SGLang does not start: ranks or memory",
        Severity.ERROR,
        "ranks share heads evenly, and one request must fit beside the weights with its states "
        "(mem_cache/kv_cache_configurator.py)",
        {},
        case.refused,
        "as it says",
    )
