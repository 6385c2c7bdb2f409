"""H5, H12, H15: how both pools' bytes are divided, padded, and taken by drafts."""

from __future__ import annotations

from cachepawl.errors import ConfigError
from cachepawl.offline.sglang.findings.balance import ratio_for_requests
from cachepawl.offline.sglang.findings.case import Case
from cachepawl.offline.sglang.findings.finding import Change, Finding, Severity
from cachepawl.offline.sglang.findings.words import gib, grouped, percent
from cachepawl.offline.sglang.inputs.facts import Missing

MOST_IDLE = 0.20
"""Share of both pools' bytes that no running request can use before H5 speaks."""
MOST_PADDING = 0.02
"""Share of a frame that a state may leave unused."""
MOST_DRAFT = 0.10
"""Share of both pools' bytes that states of drafts may take before H15 speaks."""


def idle_share(case: Case, context: int) -> tuple[int, int, float]:
    """Requests of `context` tokens that KV and states can run, and the bytes' idle share."""
    entry, state = case.need("entry_bytes"), case.need("state_bytes")
    tokens, slots = case.count("kv_tokens"), case.count("state_slots")
    page = case.page_size
    padded = -(-context // page) * page
    by_kv, by_states = tokens // padded, slots // case.slots_reserved
    used = min(by_kv, by_states) * (padded * entry + case.slots_reserved * state)
    return by_kv, by_states, 1 - used / (tokens * entry + slots * state)


def ratio_against_context(case: Case) -> Finding | None:
    """H5: at the expected context one kind runs out while the other idles."""
    if not case.static_states:
        return None
    context = case.context
    if context <= 0:
        return None
    by_kv, by_states, idle = idle_share(case, context)
    ratio = ratio_for_requests(case, context)
    if idle <= MOST_IDLE or ratio is None or abs(by_kv - by_states) <= 1:
        return None
    entry, state = case.count("entry_bytes"), case.count("state_bytes")
    total = case.count("kv_tokens") * entry + case.count("state_slots") * state
    better = int(total // (context * entry + case.slots_reserved * state))
    short = "KV" if by_kv < by_states else "states"
    return Finding(
        "H5",
        "The start-time ratio does not fit the expected context",
        Severity.WARNING,
        "both pools are divided once, at start; requests of one length use them up at the same "
        "number only if the ratio is reserved slots x state bytes / (context x bytes of a token)",
        {
            "context": context,
            "requests_by_kv": by_kv,
            "requests_by_states": by_states,
            "idle_share": idle,
            "slots_reserved": case.slots_reserved,
            "entry_bytes": entry,
            "state_bytes": state,
            "requests_at_best_ratio": better,
        },
        f"at {grouped(context)} tokens KV runs {grouped(by_kv)} requests, states "
        f"{grouped(by_states)}: {short} end first and {percent(idle)} of {gib(total)} stay idle; "
        f"{case.slots_reserved} x {grouped(state)} / ({grouped(context)} x {grouped(entry)}) = "
        f"{ratio:.3g} would run {grouped(better)}",
        "set the ratio for this context (or use one budget for both kinds)",
        (Change("--mamba-full-memory-ratio", f"{ratio:.3g}"),),
    )


def frame_padding(case: Case) -> Finding | None:
    """H12: in cachepawl's arena a state leaves more than 2 % of its frame unused."""
    page = case.page_size
    padding = _padding(case, page)
    if padding is None or padding <= MOST_PADDING:
        return None
    better = next((p for p in _smaller(page) if (_padding(case, p) or 0) <= MOST_PADDING), None)
    state = case.count("state_bytes")
    return Finding(
        "H12",
        "A state leaves much of its frame unused",
        Severity.WARNING if case.cachepawl else Severity.INFO,
        "a frame of the arena is the smallest whole number of KV pages that holds one state; "
        "what is left over is lost in every frame with a state"
        + ("" if case.cachepawl else " (this server runs without cachepawl: for when it does)"),
        {"page_size": page, "state_bytes": state, "padding": padding},
        f"pages of {grouped(page)} tokens leave {percent(padding)} of a frame of "
        f"{grouped(round(state / (1 - padding)))} bytes unused",
        "use a smaller page" if better else "no smaller page helps",
        (Change("--page-size", str(better)),) if better else (),
    )


def _padding(case: Case, page: int) -> float | None:
    """The padding at a page size; None for a model that the arena does not hold."""
    if case.spec is None:
        raise Missing("the model (--model)")
    from cachepawl.pool.from_spec import geometry_from_spec

    try:
        return geometry_from_spec(case.spec, page, case.flags.tp_size).padding
    except ConfigError:
        return None


def _smaller(page: int) -> list[int]:
    """Page sizes below, halved each time."""
    sizes = []
    while page > 1:
        page //= 2
        sizes.append(page)
    return sizes


def states_of_drafts(case: Case) -> Finding | None:
    """H15: speculative decoding keeps a state for every draft token of a running request."""
    flags = case.flags
    if flags.speculative_algorithm is None or not case.has_states:
        return None
    if flags.enable_linear_replayssm_spec:
        return None
    drafts = flags.speculative_num_draft_tokens
    if drafts is None:
        raise Missing("--speculative-num-draft-tokens in the flags")
    state, running = case.count("state_bytes"), case.running
    size = state * (running + 1) * drafts
    total = case.count("kv_tokens") * case.need("entry_bytes") + case.count("state_slots") * state
    if size <= MOST_DRAFT * (total + size):
        return None
    return Finding(
        "H15",
        "States of draft tokens take much of the memory",
        Severity.WARNING,
        "to undo rejected drafts SGLang keeps one state for each draft token of each running "
        "request, and one request more",
        {
            "draft_tokens": drafts,
            "running_limit": running,
            "state_bytes": state,
            "draft_bytes": size,
        },
        f"({running} + 1) requests x {drafts} drafts x {grouped(state)} B = {gib(size)}, beside "
        f"{gib(total)} of pools",
        "run fewer requests, draft fewer tokens, or keep inputs instead of states",
        (
            Change("--speculative-num-draft-tokens", str(max(1, drafts // 2))),
            Change("--enable-linear-replayssm-spec", "on"),
        ),
    )
