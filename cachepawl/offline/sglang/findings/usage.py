"""H10: one usage for two kinds."""

from __future__ import annotations

from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.words import grouped, percent
from cachepawl.offline.sglang.inputs.facts import Missing

STARVED = 0.05
"""A kind with no more than this share free evicts at nearly every allocation."""
PLENTY = 0.25
"""A kind with a larger share free has room to give."""
APART = 0.5
"""Difference of both usages in a log from which one of them says nothing."""


def usage_hides_kind(case: Case) -> Finding | None:
    """H10: one kind has nothing free while the other has plenty; token_usage tells neither."""
    if not case.has_states:
        return None
    scraped = ("kv_used", "kv_free", "kv_evictable", "states_used", "states_free")
    known = [case.facts.get(name) for name in (*scraped, "states_evictable")]
    if all(value is not None for value in known):
        return _scraped(case, [value for value in known if value is not None])
    if case.facts.get("kv_usage") is not None:
        return _logged(case)
    raise Missing("--metrics of the running server, or --log with batch lines")


def _scraped(case: Case, values: list[int | float]) -> Finding | None:
    kv_used, kv_free, kv_cached, states_used, states_free, states_cached = values
    tokens, slots = kv_used + kv_free + kv_cached, states_used + states_free + states_cached
    if not tokens or not slots:
        return None
    shares = {"states": states_free / slots, "KV": kv_free / tokens}
    (starved, least), (rich, most) = sorted(shares.items(), key=lambda item: item[1])
    none_left = starved == "states" and states_free <= _slots_of_one(case)
    if most < PLENTY or (least > STARVED and not none_left):
        return None
    usage = case.facts.get("token_usage")
    shown = "" if usage is None else f"; sglang:token_usage shows {usage:g}"
    return Finding(
        "H10",
        f"token_usage does not show that {starved} are starved"
        if starved == "states"
        else "token_usage does not show that KV is starved",
        Severity.WARNING,
        "sglang:token_usage is the larger of both kinds' usage by requests, and counts nothing "
        "that is cached; num_used_tokens counts KV only. A kind with nothing free evicts cached "
        "prefixes at every allocation while the other kind idles",
        {
            "kv_free_share": shares["KV"],
            "states_free_share": shares["states"],
            **({} if usage is None else {"token_usage": usage}),
        },
        f"free: {grouped(kv_free)} of {grouped(tokens)} KV tokens ({percent(shares['KV'])}), "
        f"{grouped(states_free)} of {grouped(slots)} states ({percent(shares['states'])}){shown}",
        f"watch sglang:mamba_available_tokens and sglang:kv_available_tokens; {rich} have bytes "
        f"to give",
        _towards(case, starved),
    )


def _slots_of_one(case: Case) -> int:
    """Slots that one more request takes; an idle server has as many free, however full."""
    try:
        return case.slots_held + 1
    except Missing:
        return 0


def _logged(case: Case) -> Finding | None:
    kv, states = case.need("kv_usage"), case.need("states_usage")
    if round(abs(kv - states), 4) < APART:  # the log gives two digits
        return None
    starved = "states" if states > kv else "KV"
    return Finding(
        "H10",
        f"One kind is in use, the other idles: {starved} end first",
        Severity.WARNING,
        "sglang:token_usage is the larger of both kinds' usage and does not say of which",
        {"kv_usage": kv, "states_usage": states},
        f"the last batch line of the log: full token usage {kv:g}, mamba usage {states:g}",
        "watch sglang:full_token_usage and sglang:mamba_usage, not sglang:token_usage",
        _towards(case, starved),
    )


def _towards(case: Case, starved: str) -> tuple[Change, ...]:
    """The ratio a step in favour of the starved kind, where there is a ratio."""
    if case.known_flags is None or not case.static_states:
        return ()
    ratio = case.ratio * 2 if starved == "states" else case.ratio / 2
    return (Change("--mamba-full-memory-ratio", f"{ratio:.3g}"),)
