"""cachepawl's arena: one budget for KV and states, in frames, sized as the launcher does."""

from __future__ import annotations

from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory.budget import GIB, Budget, DoesNotFit
from cachepawl.offline.sglang.memory.settle import Settled, settle
from cachepawl.pool.capacity import Capacity
from cachepawl.pool.from_spec import geometry_from_spec
from cachepawl.pool.geometry import Geometry, require_room_for_one
from cachepawl.pool.sizing import caps, request_limit, token_limit, useful_bytes
from cachepawl.specs.model import ModelSpec


class ArenaPlan(NamedTuple):
    """One rank's arena.  Bytes and tokens are those of one rank."""

    settled: Settled
    budget: Budget
    reserved_bytes: int
    """Of the budget; less only where the caps leave no use for more."""
    geometry: Geometry
    page_cap: int
    state_cap: int
    max_running_requests: int
    """Of one data-parallel rank."""

    @property
    def most_tokens(self) -> int:
        """KV tokens while there is no state: SGLang's `max_total_num_tokens`."""
        return token_limit(self.geometry, self.page_cap)

    @property
    def most_states(self) -> int:
        """States while there is no KV."""
        return min(self.geometry.usable_frames, self.state_cap) if self.geometry.state else 0

    @property
    def frame_bytes(self) -> int:
        """Of all frames, the padding frame included; never above the budget."""
        return self.geometry.total_bytes

    @property
    def capacity(self) -> Capacity:
        """What it holds at given contexts."""
        states = self.settled.states_per_request
        return Capacity(self.geometry, self.reserved_bytes, states, self.budget.exact)


def arena_plan(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> ArenaPlan:
    """The plan, to the byte.  --cachepawl-device-gb replaces the budget.

    DoesNotFit when one request does not fit; InputError or ConfigError for a model or a flag
    that the arena does not serve.
    """
    _refuse(flags)
    s = settle(spec, flags)
    states = s.states_per_request
    shapes = geometry_from_spec(s.spec, s.page_tokens, s.tp)
    shapes = shapes.with_checkpoints(flags.cachepawl_checkpoint_dtype)
    page_cap, state_cap = caps(shapes, states, flags.max_total_tokens, flags.max_mamba_cache_size)
    if flags.cachepawl_device_gb is not None:
        budget = Budget(int(flags.cachepawl_device_gb * GIB), True, "--cachepawl-device-gb")
        reserved = int(budget.rest)
    else:
        reserved = min(int(budget.rest), useful_bytes(shapes, page_cap, state_cap))
    try:
        require_room_for_one(shapes, reserved, states)
    except ConfigError as error:
        raise DoesNotFit(str(error)) from None
    geometry = shapes.with_budget(reserved)
    limit = request_limit(geometry, states, flags.max_running_requests, s.attn_dp)
    return ArenaPlan(s, budget, reserved, geometry, page_cap, state_cap, limit)


def _refuse(flags: ServerFlags) -> None:
    for flag, on in (
        ("--disable-radix-cache", flags.disable_radix_cache),
        ("--speculative-algorithm", flags.speculative_algorithm is not None),
        ("--pp-size above 1", flags.pp_size > 1),
        ("--mamba-radix-cache-strategy extra_buffer_lazy",
         flags.mamba_radix_cache_strategy == "extra_buffer_lazy"),
    ):  # fmt: skip
        if on:
            raise InputError(f"{flag}: cachepawl does not serve it; leave it out")
