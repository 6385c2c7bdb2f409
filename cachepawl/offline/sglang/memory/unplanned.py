"""Models and flags whose memory SGLang lays out by rules that are not told here."""

from __future__ import annotations

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.specs.model import ModelSpec

_SWITCHES = {
    "enable_hisparse": "--enable-hisparse",
    "enable_int8_mamba_checkpoint": "--enable-int8-mamba-checkpoint",
    "enable_kv_cache_sharding": "--enable-kv-cache-sharding",
    "enable_linear_replayssm": "--enable-linear-replayssm",
    "enable_linear_replayssm_spec": "--enable-linear-replayssm-spec",
    "prefill_only_disable_kv_cache": "--prefill-only-disable-kv-cache",
}
_DRAFTS = ("NGRAM", "EAGLE", "EAGLE3", "NEXTN")


def refuse_unplanned(spec: ModelSpec, flags: ServerFlags) -> None:
    """InputError naming the model's part or the flag."""
    if spec.windows:
        raise InputError(
            f"{spec.name}: {len(spec.windows)} sliding-window layers, which SGLang keeps in a "
            f"pool of their own; the plan knows full attention and states"
        )
    for name, flag in _SWITCHES.items():
        if getattr(flags, name):
            raise InputError(f"{flag} is not planned; leave it out")
    if flags.dcp_size != 1:
        raise InputError(f"--dcp-size {flags.dcp_size} is not planned; use 1")
    algorithm = flags.speculative_algorithm
    if algorithm is not None and algorithm.upper() not in _DRAFTS:
        raise InputError(
            f"--speculative-algorithm {algorithm} is not planned; one of: {', '.join(_DRAFTS)}"
        )
