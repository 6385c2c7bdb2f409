"""The flags of SGLang 0.5.23 that decide what memory holds, what is cached and who waits.

Names and defaults are SGLang's; None where SGLang settles the value later, from the model
or the device.  Source: `ServerArgs.add_cli_args` (`sglang/srt/server_args.py`), and the
fields behind it (`sglang/srt/arg_groups/fields`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flag_values import Kind, from_json, from_text, kind_of
from cachepawl.offline.sglang.flag_words import Words, split_words


@dataclass(frozen=True)
class ServerFlags:
    """One server's flags.  Sizes are tokens, requests, slots or ranks as SGLang counts them."""

    model_path: str | None = None
    device: str | None = None
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    quantization: str | None = None
    context_length: int | None = None
    is_embedding: bool = False

    mem_fraction_static: float | None = None
    max_total_tokens: int | None = None
    max_running_requests: int | None = None
    max_queued_requests: int | None = None
    page_size: int | None = None
    swa_full_tokens_ratio: float | None = None
    disable_hybrid_swa_memory: bool = False
    enable_page_major_kv_layout: bool = False
    enable_unified_memory: bool = False
    prefill_only_disable_kv_cache: bool = False
    enable_kv_cache_sharding: bool = False
    enable_memory_saver: bool = False
    disable_cuda_graph: bool = False
    cuda_graph_max_bs_decode: int | None = None

    max_mamba_cache_size: int | None = None
    mamba_full_memory_ratio: float | None = None
    mamba_ssm_dtype: str | None = None
    mamba_radix_cache_strategy: str = "auto"
    mamba_track_interval: int = 256
    mamba_max_states_per_path: int = -1
    mamba_backend: str = "triton"
    linear_attn_backend: str = "triton"
    enable_int8_mamba_checkpoint: bool = False
    int8_mamba_ckpt_size: int | None = None
    enable_linear_replayssm: bool = False
    linear_replayssm_cache_len: int = 16
    enable_linear_replayssm_spec: bool = False

    disable_radix_cache: bool = False
    radix_cache_backend: str | None = None
    radix_eviction_policy: str = "lru"
    enable_session_radix_cache: bool = False
    enable_streaming_session: bool = False
    enable_lmcache: bool = False
    enable_flexkv: bool = False
    enable_hisparse: bool = False
    enable_unified_cache_external_linker: bool = False

    enable_hierarchical_cache: bool = False
    hicache_host_memory_mode: str = "cache"
    hicache_ratio: float | None = None
    hicache_size: int = 0
    hicache_host_memory_fraction: float | None = 0.8
    hicache_write_policy: str = "write_through"
    hicache_io_backend: str = "kernel"
    hicache_mem_layout: str = "page_first"
    hicache_storage_backend: str | None = None
    hicache_storage_prefetch_policy: str = "timeout"

    chunked_prefill_size: int | None = None
    max_prefill_tokens: int = 16384
    prefill_max_requests: int | None = None
    enable_mixed_chunk: bool = False
    disable_overlap_schedule: bool = False
    schedule_policy: str = "fcfs"
    schedule_conservativeness: float = 1.0
    retraction_policy: str = "length"
    attention_backend: str | None = None
    prefill_attention_backend: str | None = None
    decode_attention_backend: str | None = None

    tp_size: int = 1
    pp_size: int = 1
    dp_size: int = 1
    ep_size: int = 1
    attn_dp_size: int = 1
    attn_cp_size: int = 1
    dcp_size: int = 1
    nnodes: int = 1
    enable_dp_attention: bool = False
    pp_max_micro_batch_size: int | None = None
    pp_async_batch_depth: int = 0

    speculative_algorithm: str | None = None
    speculative_draft_model_path: str | None = None
    speculative_draft_kv_cache_dtype: str | None = None
    speculative_num_steps: int | None = None
    speculative_eagle_topk: int | None = None
    speculative_num_draft_tokens: int | None = None
    disaggregation_mode: str = "null"
    disaggregation_decode_extra_slots: int | None = None
    disaggregation_decode_enable_radix_cache: bool = False
    num_reserved_decode_tokens: int = 512

    enable_metrics: bool = False
    enable_cache_report: bool = False
    kv_events_config: str | None = None

    cachepawl_device_gb: float | None = None
    """GiB of cachepawl's arena; None where --mem-fraction-static decides."""
    cachepawl_policy: str | None = None
    cachepawl_checkpoint_dtype: str | None = None
    """How states kept for reuse are stored; None and "auto" as they are."""

    given: frozenset[str] = frozenset()
    """Names of the fields above that the source set; the rest are defaults."""
    rest: tuple[str, ...] = ()
    """Words or keys that are no field here, as they came."""
    environment: tuple[tuple[str, str], ...] = ()
    """NAME=value words before the command: SGLang reads element types from some of them."""

    def environment_value(self, name: str) -> str | None:
        """The last value of an environment variable on the command line."""
        return dict(self.environment).get(name)


_ASIDE = ("given", "rest", "environment")
KINDS: Mapping[str, Kind] = {
    field.name: kind_of(field.name, str(field.type))
    for field in fields(ServerFlags)
    if field.name not in _ASIDE
}
ALIASES = {
    "model": "model_path",
    "enable_hicache": "enable_hierarchical_cache",
    "tensor_parallel_size": "tp_size",
    "pipeline_parallel_size": "pp_size",
    "data_parallel_size": "dp_size",
    "attention_data_parallel_size": "attn_dp_size",
    "attention_context_parallel_size": "attn_cp_size",
    "decode_context_parallel_size": "dcp_size",
    "expert_parallel_size": "ep_size",
    "ep": "ep_size",
    "speculative_draft_model": "speculative_draft_model_path",
}
"""Other spellings that SGLang's command line takes."""


def parse_flags(words: Sequence[str] | str, where: str = "command line") -> ServerFlags:
    """The flags of a launch command line, given as words or as one string in shell quoting.

    Takes what comes before the first flag (`python -m sglang.launch_server`), `--x 1` and
    `--x=1`, beginnings of names (`--tp 4`), and cachepawl's own flags; of a flag given twice the
    last counts, as in SGLang.
    Flags that are not listed above are kept in `rest`.  InputError names the flag, the value
    and what is allowed.
    """
    given = shell_words(words, where) if isinstance(words, str) else words
    split = split_words(given, _takes_value)
    values: dict[str, Any] = {}
    for flag, text in split.pairs:
        name = _field(flag)
        values[name] = from_text(KINDS[name], f"{where}: {flag}", text)
    return _flags(values, split)


def from_mapping(
    values: Mapping[str, object], where: str = "server_args", *, given: frozenset[str] | None = None
) -> ServerFlags:
    """The flags in a server's own account of its arguments (`/server_info`, `server_args`).

    Such an account names every argument, so `given` says which of them were set; by default
    those that differ from SGLang's defaults.  Keys that are no field stay in `rest`.
    InputError names the key, the value and what is allowed.
    """
    known = {k: from_json(KINDS[k], f"{where}: {k}", v) for k, v in values.items() if k in KINDS}
    rest = tuple(key for key in values if key not in KINDS)
    if given is None:
        given = frozenset(k for k, v in known.items() if v != getattr(ServerFlags, k))
    return ServerFlags(**known, given=given, rest=rest)


def flag_name(name: str) -> str:
    """A field as a command line spells it: "page_size" is "--page-size"."""
    return "--" + name.replace("_", "-")


def shell_words(text: str, where: str = "command line") -> list[str]:
    """The words of a line in shell quoting, continued lines joined; InputError for bad quotes."""
    try:
        return shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise InputError(f"{where}: {error}; check the quotes") from None


def _field(flag: str) -> str:
    name = _whole(flag).removeprefix("--").replace("-", "_")
    return ALIASES.get(name, name)


def _whole(flag: str) -> str:
    """The flag that a beginning such as `--tp` stands for, as SGLang's parser takes them.

    A beginning of several flags is returned as it is: SGLang refuses it.
    """
    known = [flag_name(name) for name in (*KINDS, *ALIASES)]
    meant = [flag] if flag in known else [name for name in known if name.startswith(flag)]
    return meant[0] if len(meant) == 1 else flag


def _takes_value(flag: str) -> bool | None:
    kind = KINDS.get(_field(flag))
    # SGLang's flags have dashes only.
    return None if kind is None or "_" in flag else kind.base is not bool


def _flags(values: dict[str, Any], split: Words) -> ServerFlags:
    return ServerFlags(
        **values, given=frozenset(values), rest=split.rest, environment=split.environment
    )
