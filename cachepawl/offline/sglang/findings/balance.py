"""The ratio between both pools that a demand asks for; None where it cannot be told.

--mamba-full-memory-ratio = bytes of states / bytes of KV,   both pools' bytes kept
"""

from __future__ import annotations

from cachepawl.offline.sglang.findings.case import Case


def _pools(case: Case) -> tuple[float, float, float] | None:
    """Bytes of a token, of a state, and of both pools."""
    names = ("entry_bytes", "state_bytes", "kv_tokens", "state_slots")
    entry, state, tokens, slots = (case.facts.get(name) for name in names)
    if entry is None or state is None or tokens is None or slots is None or not entry:
        return None
    return entry, state, tokens * entry + slots * state


def ratio_for_slots(case: Case, slots: int) -> float | None:
    """The ratio that gives `slots` state slots; None also when they do not fit."""
    pools = _pools(case)
    if pools is None:
        return None
    _, state, total = pools
    left = total - slots * state
    return slots * state / left if left > 0 else None


def ratio_for_tokens_a_state(case: Case, tokens: float, held: int) -> float | None:
    """The ratio at which `held` slots are taken and the rest has one for each `tokens` of KV."""
    pools = _pools(case)
    if pools is None:
        return None
    entry, state, total = pools
    left = total - held * state
    if left <= 0:
        return None
    kv = left * tokens * entry / (tokens * entry + state)
    return (total - kv) / kv


def ratio_for_requests(case: Case, context: int) -> float | None:
    """The ratio at which KV and states run out at the same number of running requests."""
    pools = _pools(case)
    if pools is None or not context:
        return None
    entry, state, _ = pools
    return case.slots_reserved * state / (context * entry)
