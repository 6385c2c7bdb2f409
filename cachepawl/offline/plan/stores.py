"""The three layouts behind one question: do so many pages and states fit?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cachepawl.offline.plan.workload import Need
from cachepawl.offline.sglang.memory import ArenaPlan, StaticPlan, UnifiedPlan

KV, STATES, BYTES = "KV", "states", "bytes"


class Store(Protocol):
    """What a layout holds on one rank."""

    @property
    def page_tokens(self) -> int: ...

    @property
    def states_per_request(self) -> int: ...

    @property
    def request_limit(self) -> int: ...

    @property
    def most_tokens(self) -> int:
        """KV tokens at most."""

    @property
    def most_states(self) -> int:
        """States at most."""

    def short_of(self, need: Need) -> str:
        """What there is too little of, "" when all fits."""

    def bytes_of(self, need: Need) -> int:
        """Bytes in use when that is held."""


Plan = TypeVar("Plan", StaticPlan, UnifiedPlan, ArenaPlan)


@dataclass(frozen=True)
class _Planned(Generic[Plan]):
    """What all layouts tell in the same way."""

    plan: Plan

    @property
    def page_tokens(self) -> int:
        return self.plan.settled.page_tokens

    @property
    def states_per_request(self) -> int:
        return self.plan.settled.states_per_request

    @property
    def request_limit(self) -> int:
        return self.plan.max_running_requests


class StaticStore(_Planned[StaticPlan]):
    """Two pools: each kind has its own room."""

    @property
    def most_tokens(self) -> int:
        return self.plan.kv_tokens

    @property
    def most_states(self) -> int:
        return self.plan.state_slots

    def short_of(self, need: Need) -> str:
        if need.pages * self.page_tokens > self.plan.kv_tokens:
            return KV
        return STATES if need.states > self.plan.state_slots else ""

    def bytes_of(self, need: Need) -> int:
        tokens = need.pages * self.page_tokens
        return tokens * self.plan.kv_token_bytes + need.states * self.plan.states.slot_bytes


class UnifiedStore(_Planned[UnifiedPlan]):
    """One buffer, filled from both ends, and the static split's limit on requests."""

    @property
    def most_tokens(self) -> int:
        return self.plan.most_tokens

    @property
    def most_states(self) -> int:
        return self.plan.most_states

    def short_of(self, need: Need) -> str:
        over = need.pages * self.page_tokens > self.most_tokens or need.states > self.most_states
        return BYTES if over or self.bytes_of(need) > self.plan.usable_bytes else ""

    def bytes_of(self, need: Need) -> int:
        return need.pages * self.plan.page_bytes + need.states * self.plan.state_bytes


class ArenaStore(_Planned[ArenaPlan]):
    """Frames, each a state, compressed ones or pages; conversations share frames of pages."""

    @property
    def most_tokens(self) -> int:
        return self.plan.most_tokens

    @property
    def most_states(self) -> int:
        return self.plan.most_states

    def short_of(self, need: Need) -> str:
        if need.pages > self.plan.page_cap:
            return KV
        g = self.plan.geometry
        states = need.states - need.kept + -(-need.kept // max(1, g.checkpoints_per_frame))
        if states > self.plan.state_cap:
            return STATES
        frames = states + -(-need.pages // g.pages_per_frame)
        return BYTES if frames > g.usable_frames else ""

    def bytes_of(self, need: Need) -> int:
        g = self.plan.geometry
        running = need.states - need.kept
        return need.pages * g.page_bytes + running * g.state_bytes + need.kept * g.kept_bytes
