"""The host memory that --enable-hierarchical-cache asks for, one pool for KV, one for states.

    ratio R   pages for R times the device's KV tokens, and R times the device's state slots
    size G    G * 10^9 bytes, shared as the device's bytes are
    each pool has one page, or slot, more

Under unified memory "the device's state slots" are those of the whole buffer, so at the
default ratio of 2 the host is asked for up to about three times the device's bytes.  Where
neither flag is given, SGLang lowers the ratio until the pools fit the machine.

Sources, under `sglang/srt/mem_cache`: `build_hybrid_mamba_stack`, `_split_hicache_size`
(`hybrid_cache/hybrid_pool_assembler.py`), `HostKVCache.__init__` (`pool_host/base.py`),
`MambaPoolHost.__init__` (`pool_host/mamba.py`), `_wire_mamba_slot_allocator`
(`unified_memory_pool.py`), `auto_size_hicache`; `handle_hicache_ratio_default`
(`arg_groups/hicache_hook.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.static import StaticPlan
from cachepawl.offline.sglang.memory.unified import UnifiedPlan


class HostPlan(NamedTuple):
    """Host pools of one rank."""

    kv_tokens: int
    kv_bytes: int
    state_slots: int
    state_bytes: int
    ratio: float | None
    """None where --hicache-size decides."""
    may_shrink: bool
    """Whether SGLang lowers the ratio on a machine with too little memory."""

    @property
    def total_bytes(self) -> int:
        return self.kv_bytes + self.state_bytes


class _Device(NamedTuple):
    tokens: int
    token_bytes: int
    kv_bytes: int
    slots: int
    slot_bytes: int
    state_bytes: int


def host_plan(plan: StaticPlan | UnifiedPlan, flags: ServerFlags) -> HostPlan | None:
    """What a rank's host pools take; None without --enable-hierarchical-cache."""
    if not flags.enable_hierarchical_cache:
        return None
    if flags.hicache_size < 0 or (flags.hicache_ratio or 1) <= 0:
        raise InputError("--hicache-size and --hicache-ratio must be positive")
    static = plan.static if isinstance(plan, UnifiedPlan) else plan
    device, page = _device(plan), static.settled.page_tokens
    ratio = _ratio(flags)
    tokens, slots = int(device.tokens * (ratio or 0)), int(device.slots * (ratio or 0))
    if ratio is None:
        total = device.kv_bytes + device.state_bytes
        for_kv, for_states = (
            flags.hicache_size * part / total for part in (device.kv_bytes, device.state_bytes)
        )
        tokens = int(for_kv * 1e9 // device.token_bytes)
        slots = int(for_states * 1e9 // device.slot_bytes) if device.slots else 0
    tokens = (tokens // page + 1) * page
    slots = slots + 1 if device.slots else 0
    return HostPlan(
        kv_tokens=tokens,
        kv_bytes=tokens * device.token_bytes,
        state_slots=slots,
        state_bytes=slots * device.slot_bytes,
        ratio=ratio,
        may_shrink=flags.hicache_ratio is None and flags.hicache_size == 0,
    )


def _ratio(flags: ServerFlags) -> float | None:
    if flags.hicache_size > 0:
        return None
    if flags.hicache_ratio is not None:
        return flags.hicache_ratio
    return 1.2 if flags.hicache_host_memory_mode == "buffer_only" else 2.0


def _device(plan: StaticPlan | UnifiedPlan) -> _Device:
    if isinstance(plan, UnifiedPlan):
        s = plan.static
        kv, held = s.kv_tokens * plan.kv_entry_bytes, plan.slots * plan.state_bytes
        return _Device(s.kv_tokens, s.kv_token_bytes, kv, plan.slots, plan.state_bytes, held)
    # Static pools count their padding page and slot.
    kv, states = plan.kv_bytes + plan.padding_page_bytes, plan.states
    return _Device(
        plan.kv_tokens, plan.kv_token_bytes, kv, states.slots, states.slot_bytes, states.bytes
    )
