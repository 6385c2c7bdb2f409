"""Pool sizes that no running server told, planned from the model, the flags and the memory."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from cachepawl.offline.models import Model
from cachepawl.offline.plan.places import Place, budget_of
from cachepawl.offline.sglang.flags import ServerFlags
from cachepawl.offline.sglang.inputs.facts import Fact, Facts
from cachepawl.offline.sglang.memory import Budget, DoesNotFit, arena_plan, static_plan
from cachepawl.offline.sglang.memory.budget import GIB, default_fraction
from cachepawl.specs.model import ModelSpec


class Memory(NamedTuple):
    """Where the pools are to be, and GiB of all weights; None where nobody said."""

    place: Place | None = None
    weights_gb: float | None = None


UNKNOWN = Memory()


def planned_pools(
    spec: ModelSpec, flags: ServerFlags, facts: Facts, budget: Budget | None, *, cachepawl: bool
) -> dict[str, Fact]:
    """KV tokens, state slots and the limit of requests; none where memory is unknown.

    Under unified memory they are the labels that the start settles.  DoesNotFit when the
    server would not start; InputError or ConfigError for what is not planned.
    """
    flags = with_context(flags, facts)
    if budget is None:
        return {}
    source = f"planned for {budget.rest / GIB:.2f} GiB a rank ({budget.source})"
    if cachepawl:
        arena = arena_plan(spec, flags, budget)
        limit, tokens, slots = arena.max_running_requests, arena.most_tokens, arena.most_states
    else:
        plan = static_plan(spec, flags, budget)
        limit, tokens, slots = plan.max_running_requests, plan.kv_tokens, plan.state_slots
    sizes = {"kv_tokens": tokens, "state_slots": slots, "running_limit": limit}
    return {name: Fact(value, source) for name, value in sizes.items() if value}


def with_context(flags: ServerFlags, facts: Facts) -> ServerFlags:
    """The flags with the longest request, where something else than a flag tells it."""
    if facts.get("context_limit") is None or flags.context_length is not None:
        return flags
    return replace(flags, context_length=facts.count("context_limit"))


def budget_of_pools(facts: Facts) -> Budget | None:
    """The bytes of a static split that runs: its KV, its states and their padding slot."""
    names = ("kv_tokens", "entry_bytes", "state_slots", "state_bytes")
    if any(facts.get(name) is None for name in names):
        return None
    tokens, entry, slots, state = map(facts.count, names)
    return Budget(tokens * entry + (slots + 1) * state, True, "the running server's pools")


def budget_left(model: Model, flags: ServerFlags, facts: Facts, memory: Memory) -> Budget | None:
    """The bytes left for the pools: as given, or as the log's free memory says (two digits)."""
    if memory.place is not None:
        return budget_of(memory.place, model, with_context(flags, facts), memory.weights_gb)[0]
    before, after = facts.get("free_before"), facts.get("free_after")
    if before is None or after is None:
        return None
    fraction = flags.mem_fraction_static
    if fraction is None:
        fraction = default_fraction(flags, round(before * GIB))
    rest = (after - before * (1 - fraction)) * GIB
    if rest <= 0:
        raise DoesNotFit(
            f"{after:.2f} GB are free after the weights of {before:.2f} before, and "
            f"--mem-fraction-static {fraction:g} leaves none of them for the pools; raise it"
        )
    return Budget(rest, False, "free memory in the log")
