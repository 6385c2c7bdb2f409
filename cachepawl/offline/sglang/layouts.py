"""The same bytes under three layouts: static split, unified memory, cachepawl's arena."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cachepawl.errors import ConfigError, InputError
from cachepawl.offline.document import Table
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.memory import (
    Budget,
    DoesNotFit,
    arena_plan,
    static_plan,
    unified_plan,
)
from cachepawl.offline.sglang.memory.budget import GIB
from cachepawl.specs.model import ModelSpec


class Layout(NamedTuple):
    """One layout on one rank; `why_not` alone where it cannot hold this model or these flags."""

    name: str
    kv_tokens: int | None = None
    """The most KV: beside all states under a static split, without any under one budget."""
    states: int | None = None
    """The most states, likewise."""
    bytes: int | None = None
    """What the layout reserves of the budget."""
    running: int | None = None
    """Requests that the server lets run at once."""
    states_per_request: int | None = None
    """Slots that a running request owns."""
    why_not: str = ""


def layouts_of(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> list[Layout]:
    """All three, for flags as they are but for what chooses the layout."""
    return [_or_why_not(*way, spec, flags, budget) for way in _ways()]


def _ways() -> Iterator[tuple[str, Callable[[ModelSpec, ServerFlags, Budget], Layout]]]:
    yield "static split", _static
    yield "unified memory", _unified
    yield "cachepawl's arena", _arena


def _or_why_not(
    name: str,
    plan: Callable[[ModelSpec, ServerFlags, Budget], Layout],
    spec: ModelSpec,
    flags: ServerFlags,
    budget: Budget,
) -> Layout:
    try:
        return plan(spec, flags, budget)._replace(name=name)
    except (ConfigError, DoesNotFit, InputError) as error:
        return Layout(name, why_not=str(error))


def _static(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> Layout:
    plan = static_plan(spec, flags, budget)
    return Layout("", plan.kv_tokens, plan.state_slots, plan.used_bytes,
                  plan.max_running_requests, plan.settled.states_per_request)  # fmt: skip


def _unified(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> Layout:
    plan = unified_plan(spec, flags, budget)
    return Layout("", plan.most_tokens, plan.most_states, plan.total_bytes,
                  plan.max_running_requests, plan.settled.states_per_request)  # fmt: skip


def _arena(spec: ModelSpec, flags: ServerFlags, budget: Budget) -> Layout:
    plan = arena_plan(spec, flags, budget)
    return Layout("", plan.most_tokens, plan.most_states, plan.reserved_bytes,
                  plan.max_running_requests, plan.settled.states_per_request)  # fmt: skip


def layouts_table(layouts: list[Layout], budget: Budget) -> Table:
    """Side by side; a layout that does not go has its reason below."""
    reasons = [f"{one.name}: {one.why_not}." for one in layouts if one.why_not]
    how = (
        f"{budget.rest / GIB:.2f} GiB a rank ({budget.source}). A static split holds both "
        "numbers at once; one budget holds less of one kind as it holds more of the other."
    )
    return Table(
        ("layout", "KV tokens at most", "states at most", "bytes reserved",
         "requests at once, at most", "states of a running request"),
        [one[:-1] for one in layouts],
        title="Side by side",
        note=" ".join([how, *reasons]),
    )  # fmt: skip
