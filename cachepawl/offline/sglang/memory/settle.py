"""Flags as SGLang settles them for one model before it sizes memory.

Sources, under `sglang/srt`: `_mamba_radix_cache_resolution`, `supports_mamba_cache_extra_buffer`
and `_page_size_default` (`arg_groups/overrides.py`), `validate_mamba_no_buffer` and
`validate_mamba_extra_buffer` (`arg_groups/mamba_hook.py`), `get_mamba_tracking_slots`
(`mem_cache/allocation_sizing.py`), `KVCacheConfigurator._calculate_mamba_ratio`.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.element_types import settled_dtypes
from cachepawl.offline.sglang.memory.unplanned import refuse_unplanned
from cachepawl.specs.gdn import GatedDelta
from cachepawl.specs.kda import KimiDelta
from cachepawl.specs.mamba2 import Mamba2
from cachepawl.specs.model import ModelSpec

DEFAULT_RATIO = 0.9
"""--mamba-full-memory-ratio; source: `Schedule` (`arg_groups/fields/schedule.py`)."""
_SKIP_LOCK = "SGLANG_OPT_MAMBA_SKIP_DECODE_LOCK"
_TRUE = ("true", "1", "yes", "y")


class Settled(NamedTuple):
    """A model and its flags, every default settled."""

    spec: ModelSpec
    """With the element types that the server will use."""
    page_tokens: int
    ratio: float
    strategy: str
    """How states are snapshot: "none" without states or without a radix cache, "no_buffer",
    "extra_buffer" or "extra_buffer_lazy"; "auto" for a model that SGLang leaves at that."""
    overlap: bool
    tp: int
    """Ranks that share one attention layer."""
    pp: int
    attn_dp: int
    """Ranks that each run requests of their own and share the limits on all."""
    tracking_slots: int
    """State slots of a running request besides the active one."""
    slots_per_request: int
    """State slots of the pool for each request that may run: SGLang's divisor."""
    context: int | None
    """Longest request, in tokens; None: not known here."""
    assumed: tuple[str, ...]
    """What was not given and matters."""

    @property
    def states_per_request(self) -> int:
        """State slots that a running request takes: one active, and its tracking slots."""
        return 1 + self.tracking_slots if self.spec.states else 0


def settle(spec: ModelSpec, flags: ServerFlags) -> Settled:
    """Settle everything that memory depends on.

    InputError for what SGLang would refuse, or what is not planned here; ConfigError when
    the ranks cannot share the model.
    """
    refuse_unplanned(spec, flags)
    assumed, dtypes = list[str](), settled_dtypes(spec, flags)
    page = _page(flags, assumed)
    strategy = _strategy(spec, flags, page)
    overlap = _overlaps(flags, strategy)
    tracking = _tracking_slots(strategy, overlap)
    if flags.context_length is None and flags.max_running_requests is None:
        assumed.append("a context so long that SGLang's estimate of requests is at its least")
    attn_dp = flags.dp_size if flags.enable_dp_attention else flags.attn_dp_size
    return Settled(
        spec=spec if dtypes == spec.dtypes else spec.with_dtypes(dtypes),
        page_tokens=page,
        ratio=_ratio(flags),
        strategy=strategy,
        overlap=overlap,
        tp=_attention_ranks(flags, attn_dp),
        pp=flags.pp_size,
        attn_dp=attn_dp,
        tracking_slots=tracking,
        slots_per_request=_slots_per_request(flags, strategy, tracking),
        context=flags.context_length,
        assumed=tuple(assumed),
    )


def _page(flags: ServerFlags, assumed: list[str]) -> int:
    if flags.page_size is None:
        assumed.append("page size 1, unless the attention backend wants larger pages")
        return 1
    if flags.page_size < 1:
        raise InputError(f"--page-size {flags.page_size} is not positive; use 1 or more")
    return flags.page_size


def _ratio(flags: ServerFlags) -> float:
    ratio = flags.mamba_full_memory_ratio
    if ratio is None:
        return DEFAULT_RATIO
    if not 0 < ratio < 1e9:
        raise InputError(f"--mamba-full-memory-ratio {ratio:g}: give a number above 0")
    return ratio


def _attention_ranks(flags: ServerFlags, attn_dp: int) -> int:
    counts = {
        "--tp-size": flags.tp_size,
        "--pp-size": flags.pp_size,
        "--attn-dp-size": attn_dp,
        "--attn-cp-size": flags.attn_cp_size,
    }
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count} is not positive; use 1 or more")
    shared = attn_dp * flags.attn_cp_size
    if flags.tp_size % shared:
        raise InputError(
            f"--tp-size {flags.tp_size} does not divide by {attn_dp} data-parallel times "
            f"{flags.attn_cp_size} context-parallel attention ranks; use a multiple of {shared}"
        )
    return flags.tp_size // shared


def tracks_states(spec: ModelSpec, flags: ServerFlags) -> bool:
    """Whether SGLang can snapshot this model's states beside a running request.

    By kind of layer, where SGLang goes by the name of the architecture.
    """
    kinds = (Mamba2, GatedDelta, KimiDelta)
    held = bool(spec.full_attention) and all(isinstance(s, kinds) for s in spec.states)
    return held and flags.linear_attn_backend == "triton"


def _overlaps(flags: ServerFlags, strategy: str) -> bool:
    """Sources: `_pipeline_parallel_overlap_disable`, `_disable_overlap_schedule_for_cpu`."""
    drafts_on_cpu = flags.speculative_algorithm is not None and flags.device == "cpu"
    kept = flags.pp_size == 1 and not drafts_on_cpu and strategy != "no_buffer"
    return kept and not flags.disable_overlap_schedule


def _strategy(spec: ModelSpec, flags: ServerFlags, page: int) -> str:
    chosen = flags.mamba_radix_cache_strategy
    if flags.disable_radix_cache:
        return "none"
    if not spec.states:
        if chosen.startswith("extra_buffer"):
            raise InputError(
                f"--mamba-radix-cache-strategy {chosen}: {spec.name} has no states; leave it out"
            )
        return "none"
    if chosen == "auto":
        if not spec.full_attention:
            return "auto"
        wanted = not flags.disable_overlap_schedule or page > 1
        chosen = "extra_buffer" if wanted and tracks_states(spec, flags) else "no_buffer"
    elif chosen == "no_buffer" and not flags.disable_overlap_schedule:
        raise InputError(
            "--mamba-radix-cache-strategy no_buffer: SGLang wants --disable-overlap-schedule "
            "with it; give both, or leave the strategy out"
        )
    _check_strategy(spec, flags, page, chosen)
    return chosen


def _check_strategy(spec: ModelSpec, flags: ServerFlags, page: int, chosen: str) -> None:
    if chosen == "no_buffer":
        if page != 1:
            raise InputError(
                f"--page-size {page}: {spec.name} is served without an extra buffer for states, "
                f"and then SGLang takes page size 1 only; leave the flag out"
            )
        return
    if not tracks_states(spec, flags):
        raise InputError(
            f"--mamba-radix-cache-strategy {chosen}: SGLang has no extra buffer for "
            f"{spec.name} on linear-attention backend {flags.linear_attn_backend}; use no_buffer"
        )
    if flags.mamba_track_interval % page:
        raise InputError(
            f"--mamba-track-interval {flags.mamba_track_interval} is no multiple of --page-size "
            f"{page}, which SGLang refuses; change one of them"
        )
    if chosen == "extra_buffer_lazy" and not _overlaps(flags, chosen):
        raise InputError(
            "--mamba-radix-cache-strategy extra_buffer_lazy needs overlap scheduling, which "
            "--disable-overlap-schedule and --pp-size turn off; use extra_buffer"
        )


def _tracking_slots(strategy: str, overlap: bool) -> int:
    if strategy == "extra_buffer":
        return 2 if overlap else 1
    return 1 if strategy == "extra_buffer_lazy" else 0


def _slots_per_request(flags: ServerFlags, strategy: str, tracking: int) -> int:
    if flags.disable_radix_cache:
        return 1
    skips_lock = (flags.environment_value(_SKIP_LOCK) or "").lower() in _TRUE
    # Without tracking slots the one that the skip saves is taken by prefill's peak.
    extra = tracking if tracking else int(skips_lock)
    return 3 - int(skips_lock) + extra
