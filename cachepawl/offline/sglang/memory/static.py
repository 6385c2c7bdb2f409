"""SGLang's default: two pools, one for KV and one for states, split once at start.

    states   --max-mamba-cache-size slots, or what `ratio / (1 + ratio)` of the rest holds,
             always with one slot more, the padding slot
    KV       what is left, in whole pages; the pool has one page more, which is not charged
    requests at most slots / slots_per_request, tokens / 2, and what the flags say

SGLang computes in GiB as a float and so does this, to the same unit.  Sources, all of
`KVCacheConfigurator` (`sglang/srt/mem_cache/kv_cache_configurator.py`):
`_handle_max_mamba_cache`, `config_from_budget`, `_apply_token_constraints`,
`resolve_max_num_reqs`; and `DefaultPoolConfigurator.calculate_pool_sizes`.
"""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.budget import GIB, Budget, DoesNotFit
from cachepawl.offline.sglang.memory.cells import prices
from cachepawl.offline.sglang.memory.drafts import DEFAULT_REQUESTS, Draft, draft_of
from cachepawl.offline.sglang.memory.requests import RequestLimit, request_limit
from cachepawl.offline.sglang.memory.settle import Settled, settle
from cachepawl.specs.model import ModelSpec

_NO_KV_HERE = (1 << 63) - 1
"""Tokens of a pipeline stage without attention, where another stage has some."""


class StatePool(NamedTuple):
    """State slots, and the bytes they are charged."""

    slots: int
    slot_bytes: int
    rollback_bytes: int
    """Copies of states that speculative decoding keeps, padding included."""

    @property
    def bytes(self) -> int:
        """Of all slots and the padding slot; 0 without states."""
        return (self.slots + 1) * self.slot_bytes if self.slots else 0


class StaticPlan(NamedTuple):
    """The two pools of one rank.  Bytes and tokens are those of one rank."""

    settled: Settled
    budget: Budget
    kv_tokens: int
    """SGLang's `max_total_num_tokens`."""
    kv_token_bytes: int
    """Of the pipeline stage that has the most."""
    kv_budget: int
    """Bytes left for KV beside the states."""
    uncapped_tokens: int
    """What they hold when --max-total-tokens does not say less."""
    states: StatePool
    requests: RequestLimit
    draft_tokens: int
    """Tokens that a step of speculative decoding guesses; 0 without it."""

    @property
    def kv_bytes(self) -> int:
        """Charged for KV."""
        return self.kv_tokens * self.kv_token_bytes

    @property
    def padding_page_bytes(self) -> int:
        """The page that the pool has besides, and that no budget is charged for."""
        return self.settled.page_tokens * self.kv_token_bytes

    @property
    def used_bytes(self) -> int:
        """Charged for KV and states; never above the budget."""
        return self.kv_bytes + self.states.bytes + self.states.rollback_bytes

    @property
    def request_table_bytes(self) -> int | None:
        """The device's table of token ids by request, which no budget is charged for.

        4 bytes for each position a request may have, 4 spare ones, and a padding row.  None
        where the context length is not known, or speculative decoding widens the rows.
        Source: `ReqToTokenPool` (`memory_pool.py`), `get_req_to_token_extra_context_len`.
        """
        context = self.settled.context
        if context is None or self.draft_tokens:
            return None
        return 4 * (self.max_running_requests + 1) * (context + 4)

    @property
    def state_slots(self) -> int:
        return self.states.slots

    @property
    def max_running_requests(self) -> int:
        """Of one data-parallel rank."""
        return self.requests.limit

    @property
    def reserved_states(self) -> int:
        """State slots that the running requests take when all of them run."""
        return self.max_running_requests * self.settled.states_per_request


def static_plan(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> StaticPlan:
    """The plan, to the unit; DoesNotFit where SGLang stops, InputError for bad flags."""
    s, draft = settle(spec, flags), draft_of(flags)
    price = prices(s, draft.layers)
    states, rest = StatePool(0, 0, 0), budget.rest
    if s.spec.states:
        states = state_pool(s, flags, price.state, rest / GIB, draft)
        rest = (rest / GIB - states.rollback_bytes / GIB - states.bytes / GIB) * GIB
    if rest <= 0:
        raise DoesNotFit(
            f"{states.slots} state slots of {states.slot_bytes} bytes and the padding slot leave "
            f"no byte of {budget.rest:.0f} for KV; lower --max-mamba-cache-size or "
            f"--mamba-full-memory-ratio, or raise --mem-fraction-static"
        )
    uncapped = token_capacity(s, flags, price.kv, int(rest))
    tokens = _capped(s, flags, uncapped)
    return StaticPlan(
        settled=s,
        budget=budget,
        kv_tokens=tokens,
        kv_token_bytes=max(price.kv),
        kv_budget=int(rest),
        uncapped_tokens=uncapped,
        states=states,
        requests=request_limit(s, wanted_requests(flags), tokens, states.slots),
        draft_tokens=draft.tokens,
    )


def wanted_requests(flags: ServerFlags) -> int | None:
    """--max-running-requests over all data-parallel ranks; None where SGLang estimates it."""
    if flags.max_running_requests is None and flags.speculative_algorithm is not None:
        return DEFAULT_REQUESTS
    return flags.max_running_requests


def state_pool(
    s: Settled, flags: ServerFlags, slot: int, rest_gib: float, draft: Draft
) -> StatePool:
    """Slots by flag, by the running requests without a radix cache, or by the ratio."""
    wanted = wanted_requests(flags)
    requests = max(1, (wanted or 0) // s.attn_dp)
    copies = draft.tokens if draft.keeps_states else 0
    if flags.max_mamba_cache_size is not None:
        slots = flags.max_mamba_cache_size // s.attn_dp
    elif flags.disable_radix_cache and wanted is not None:
        slots = requests
    else:
        slots = _slots_by_ratio(s, slot, rest_gib, copies)
    if slots <= 0:
        raise DoesNotFit(
            f"not one state slot of {slot} bytes: {rest_gib:.3f} GiB are left at "
            f"--mamba-full-memory-ratio {s.ratio:g}; raise --mem-fraction-static, the ratio or "
            f"--max-mamba-cache-size"
        )
    running = min(requests, slots // s.slots_per_request)
    return StatePool(slots, slot, slot * (running + 1) * copies)


def _slots_by_ratio(s: Settled, slot: int, rest_gib: float, copies: int) -> int:
    share = rest_gib * s.ratio / (1 + s.ratio) * GIB
    if not copies:
        return int((share - slot) // slot)
    return int((share - slot * (1 + copies)) // (slot * (1 + copies / s.slots_per_request)))


def token_capacity(s: Settled, flags: ServerFlags, kv: tuple[int, ...], rest: int) -> int:
    """Tokens of `rest` bytes in whole pages; the least of all pipeline stages."""
    page = s.page_tokens
    return min(_stage_tokens(s, flags, cell, any(kv), rest) // page * page for cell in kv)


def _capped(s: Settled, flags: ServerFlags, tokens: int) -> int:
    page, limit = s.page_tokens, flags.max_total_tokens
    capped = tokens if limit is None else min(tokens, limit // page * page)
    if capped <= 0:
        raise DoesNotFit(
            f"not one page of {page} tokens: {tokens} tokens fit, --max-total-tokens is {limit}; "
            f"raise --mem-fraction-static or --max-total-tokens, or lower --page-size"
        )
    return capped


def _stage_tokens(s: Settled, flags: ServerFlags, cell: int, elsewhere: bool, rest: int) -> int:
    if cell:
        return rest // cell
    if elsewhere:
        return _NO_KV_HERE
    tokens = flags.max_total_tokens or s.context
    if tokens is None:
        raise InputError(
            f"{s.spec.name} has no attention, so its context is what SGLang calls its tokens; "
            f"give --context-length"
        )
    return tokens
