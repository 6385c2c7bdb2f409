"""SGLang's --enable-unified-memory for hybrid models: one buffer, filled from both ends.

    bytes    what KV gets under the static split, a multiple of 4096, and the state slots
    sink     the lowest entries or the first page, whichever is larger, hold padding
    KV       whole pages from the top down, states from the sink up, until they meet

The ratio still decides the limit on requests, and the buffer is a state slot (the padding slot)
smaller than the static pools.  The host tier mirrors KV as the static split has it and
*every* state slot that the whole buffer could hold.

Sources, under `sglang/srt/mem_cache`: `init_unified_mamba_pools`, `_reserved_floor_bytes`,
`_check_bs1_feasibility_floor`, `UnifiedHybridReqToTokenPool`, `MHASubPoolSpec.entry_bytes`
(`unified_memory_pool.py`); `MultiEndedAllocator._available_tokens`
(`allocator/unified_sub_pool.py`); `KVCacheConfigurator.config_from_budget`.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.budget import Budget, DoesNotFit
from cachepawl.offline.sglang.memory.settle import Settled
from cachepawl.offline.sglang.memory.static import StaticPlan, static_plan
from cachepawl.pool.geometry import ENTRY_ALIGN, PART_ALIGN, align
from cachepawl.specs.attention import Attention, LatentAttention
from cachepawl.specs.model import ModelSpec
from cachepawl.specs.parallel import kv_heads_of_rank

_TOTAL_ALIGN = 4096
_STATES_OF_ONE = 3
"""State slots that the one last request must be able to hold."""


class UnifiedPlan(NamedTuple):
    """One rank's buffer.  Bytes and tokens are those of one rank."""

    static: StaticPlan
    """The split that the sizes come from: its tokens and slots are SGLang's labels here, its
    limit on requests holds."""
    total_bytes: int
    kv_entry_bytes: int
    """Of a token over all attention layers, padded."""
    state_bytes: int

    @property
    def settled(self) -> Settled:
        return self.static.settled

    @property
    def budget(self) -> Budget:
        return self.static.budget

    @property
    def max_running_requests(self) -> int:
        return self.static.max_running_requests

    @property
    def page_bytes(self) -> int:
        return self.settled.page_tokens * self.kv_entry_bytes

    @property
    def sink_bytes(self) -> int:
        """Kept free at the bottom."""
        return max(self.page_bytes, self.state_bytes)

    @property
    def slots(self) -> int:
        """Of states in the whole buffer, without the padding slot."""
        return self.total_bytes // self.state_bytes - 1

    @property
    def usable_bytes(self) -> int:
        """From the first state slot above the sink to the end of the last whole page."""
        return self._pages * self.page_bytes - self._first_slot * self.state_bytes

    @property
    def most_tokens(self) -> int:
        """KV tokens while there is no state."""
        sink = -(-self.sink_bytes // self.page_bytes)
        pages = min(self._pages - sink, self.usable_bytes // self.page_bytes)
        return pages * self.settled.page_tokens

    @property
    def most_states(self) -> int:
        """States while there is no KV."""
        above_sink = self.slots + 1 - self._first_slot
        return min(above_sink, self.usable_bytes // self.state_bytes)

    @property
    def _pages(self) -> int:
        return self.total_bytes // self.kv_entry_bytes // self.settled.page_tokens

    @property
    def _first_slot(self) -> int:
        return -(-self.sink_bytes // self.state_bytes)


def unified_plan(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> UnifiedPlan:
    """The plan, to the byte; InputError for a model or a flag the layout does not take."""
    _refuse(spec, flags)
    static = static_plan(spec, flags, budget)
    s = static.settled
    _check_rows(s)
    entry = align(s.spec.kv_bytes_per_token(s.tp), ENTRY_ALIGN)
    kv = static.kv_budget - static.kv_budget % _TOTAL_ALIGN
    if flags.max_total_tokens is not None and flags.max_total_tokens < static.uncapped_tokens:
        kv = static.kv_tokens * entry
    state = static.states.slot_bytes
    plan = UnifiedPlan(static, kv + static.state_slots * state, entry, state)
    if plan.total_bytes < _STATES_OF_ONE * state + plan.sink_bytes:
        raise DoesNotFit(
            f"a buffer of {plan.total_bytes} bytes: {_STATES_OF_ONE} states of {state} bytes and "
            f"the sink of {plan.sink_bytes} do not fit; raise --mem-fraction-static"
        )
    return plan


def _refuse(spec: ModelSpec, flags: ServerFlags) -> None:
    if not spec.states or not spec.full_attention:
        raise InputError(
            f"{spec.name}: --enable-unified-memory takes models with attention and states only"
        )
    if flags.speculative_algorithm is not None or flags.pp_size > 1:
        raise InputError(
            "--enable-unified-memory is not planned with speculative decoding or pipeline stages; "
            "leave out --speculative-algorithm and --pp-size"
        )


def _check_rows(s: Settled) -> None:
    """InputError for rows that SGLang's strided views do not take (`_check_row_alignment`)."""
    for row in {row for a in s.spec.full_attention for row in _rows(s, a)}:
        if row % PART_ALIGN:
            raise InputError(
                f"{s.spec.name}: KV rows of {row} bytes on {s.tp} ranks, and "
                f"--enable-unified-memory wants multiples of {PART_ALIGN}; leave it out"
            )


def _rows(s: Settled, a: Attention | LatentAttention) -> tuple[int, ...]:
    kv = s.spec.dtypes.kv
    if isinstance(a, LatentAttention):
        return (a.entry_bytes(kv, s.tp),)
    heads = kv_heads_of_rank(a.kv_heads, s.tp)
    return heads * kv.bytes_of(a.head_dim), heads * kv.bytes_of(a.v_head_dim)
